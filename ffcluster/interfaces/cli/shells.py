"""How bash, zsh and fish ask what completes a word, and understand the answer.

A shell hands over the command line up to the cursor, and gets a line for each offer: its type, its
value and a text, with tabs between them. Click's own scripts are not used: in bash they lose count
of the words after a `:` or `=`, in zsh they offer nothing when they are asked a second time, in zsh
and fish they complete no `--option=value`, and in fish they cut descriptions at a comma. Knows no
command.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from ffcluster.interfaces.cli.output import printable

# Stands behind the word that is completed, which there is even where nothing of it is typed yet.
_CURSOR = "\ue000"

_BASH = r"""
_ffcluster_completion() {
    local type value head= word="${COMP_WORDS[COMP_CWORD]}"
    # Where somebody has it that = ends no word, the whole word is replaced.
    [[ $word == --*=* ]] && head="${word%%=*}="
    COMPREPLY=()
    while IFS=$'\t' read -r type value _; do
        case $type in
            plain) COMPREPLY+=("$head$value") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done <<< "$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" _FFCLUSTER_COMPLETE=bash_complete \
        "${1/#\~/$HOME}" 2>/dev/null)"
}

complete -o nosort -F _ffcluster_completion ffcluster
"""

_ZSH = r"""#compdef ffcluster

_ffcluster() {
    local type value text line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    local -a described plain files
    local -i nothing=1
    (( $+commands[ffcluster] )) || return 1
    while IFS=$'\t' read -r type value text; do
        case $type in
            plain) [[ -n $text ]] && described+=("${value//:/\\:}:$text") || plain+=("$value") ;;
            dir) files=(-/) ;;
            file) files=(-f) ;;
        esac
    done < <(COMP_LINE="$line" _FFCLUSTER_COMPLETE=zsh_complete ffcluster 2>/dev/null)
    compset -P 1 '--*='
    (( $#described )) && _describe -V ffcluster described && nothing=0
    (( $#plain )) && compadd -V ffcluster -a plain && nothing=0
    (( $#files )) && _path_files $files && nothing=0
    return nothing
}

# Found in fpath, the first call is that of the whole file, which the function then replaces.
if [[ $funcstack[1] == _ffcluster ]]; then
    _ffcluster "$@"
else
    compdef _ffcluster ffcluster
fi
"""

_FISH = r"""
function _ffcluster_completion
    set -l line (commandline -cp | string collect)
    for row in (env COMP_LINE="$line" _FFCLUSTER_COMPLETE=fish_complete ffcluster 2>/dev/null)
        set -l offer (string split \t -- $row)
        switch $offer[1]
            case plain
                printf '%s\t%s\n' $offer[2] $offer[3]
            case dir
                __fish_complete_directories $offer[2] | string replace -r '^' -- $offer[3]
            case file
                __fish_complete_path $offer[2] | string replace -r '^' -- $offer[3]
        end
    end
end

complete --no-files --command ffcluster --arguments "(_ffcluster_completion)"
"""


class _Shell(ShellComplete):
    """What all three have in common."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words behind the command, and of the last one what stands before the cursor."""
        words = split_arg_string(os.environ.get("COMP_LINE", "") + _CURSOR)
        return words[1:-1], words[-1].removesuffix(_CURSOR)

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A line for the script."""
        return f"{item.type}\t{printable(item.value)}\t{printable(item.help or '')}"


class Bash(_Shell):
    """bash, 4.4 or later; shows no descriptions."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH


class Zsh(_Shell):
    """zsh."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class Fish(_Shell):
    """fish, which takes whole words only: with the option where its value follows a `=`."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """What is offered; files, which the script finds, with what stands before them."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        head = option + equals if equals and option.startswith("--") else ""
        return [
            CompletionItem(head + item.value, item.type, item.help)
            if item.type == "plain"
            else CompletionItem(item.value, item.type, head)
            for item in found
        ]


SHELLS: dict[str, type[ShellComplete]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}


def script(shell: str) -> str:
    """What a shell that is called so has to read."""
    return SHELLS[shell].source_template.lstrip("\n")


def register() -> None:
    """Have Click answer the shells so."""
    for shell in SHELLS.values():
        add_completion_class(shell)
