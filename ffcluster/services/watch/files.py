"""The files of one watch folder: look, take, read, put where they belong. Everything here blocks.

Owns the folder's `.ffcluster` directory. What a claim has reached is written there, durably, before
anybody is told, so that a restart goes on from it. Follows no symbolic link, overwrites no file.

    .ffcluster/taken/OWNER/CLAIM/.claim.json    what is known of a file that was taken
    .ffcluster/taken/OWNER/CLAIM/film.mkv       the file itself, under a name that can be shown
    .ffcluster/finished/ab/abcd....json         what was done, by the SHA-256 of the source
    .ffcluster/left/HASH.json                   files that were done and left where they were
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

import attrs

from ffcluster.core.watching import Claim, Ending, Stamp, Verdict
from ffcluster.services.settings.watchfolders import (
    DONE,
    FAILED,
    HOUSE,
    SETTINGS_FILE,
    After,
    Subfolders,
    WatchFolder,
)
from ffcluster.services.watch.onefile import (
    beside,
    has_writer,
    is_directory,
    is_same,
    move,
    plain_name,
    read_note,
    regular,
    shortened,
    stamp_from,
    stamp_of,
    write_note,
    write_text,
)
from ffcluster.store import files

_CLAIM = ".claim.json"
_REASON = ".reason.txt"
_NOTE = ".note.txt"
_MOST_ENTRIES = 1_000_000
_DEEPEST = 32
_BLOCK_BYTES = 1024 * 1024
# Names that other programs give to files that they have not finished yet.
_PARTIAL = frozenset({
    ".!qb", ".!ut", ".aria2", ".bc!", ".crdownload", ".download", ".filepart", ".incomplete",
    ".part", ".partial", ".temp", ".tmp", ".unfinished",
})  # fmt: skip


class NotTaken(Exception):
    """A file cannot be taken now; the text says why, and is "" when nobody needs to know."""


class Returned(Exception):
    """A claim is none any more: its file changed and was given back, or is gone."""


class Stopped(Exception):
    """The coordinator stops."""


@attrs.frozen
class Look:
    """What a look found.

    Attributes:
        found: (name, stamp) of each file that might be taken.
        problems: What could not be looked at, in words.
    """

    found: tuple[tuple[str, Stamp], ...]
    problems: tuple[str, ...] = ()


class FolderFiles:
    """The files of one watch folder, for one coordinator.

    Args:
        folder: The folder and its settings.
        owner: The coordinator's own name, the same after every restart.
        stopping: Set when the coordinator stops; reading a long file ends then.
    """

    def __init__(self, folder: WatchFolder, owner: str, stopping: threading.Event) -> None:
        self._folder = folder
        self._root = folder.path
        self._house = folder.path / HOUSE
        self._taken = self._house / "taken" / owner
        self._stopping = stopping

    # --- start ---------------------------------------------------------------------------------

    def prepare(self) -> list[Claim]:
        """Make what is needed, and answer what an earlier process took and did not finish.

        Raises:
            OSError: The folder cannot be used now.
        """
        self._taken.mkdir(parents=True, exist_ok=True)
        claims = []
        for directory in sorted(self._taken.iterdir()):
            claim = self._restored(directory)
            if claim is not None:
                claims.append(claim)
        return claims

    def left(self) -> dict[str, Stamp]:
        """Files that were done and left in the folder; what is not so any more is forgotten."""
        found: dict[str, Stamp] = {}
        with contextlib.suppress(FileNotFoundError):
            for path in (self._house / "left").iterdir():
                data = read_note(path)
                name, stamp = str(data.get("name", "")), stamp_from(data)
                if name and stamp_of(self._root / name) == stamp:
                    found[name] = stamp
                else:
                    path.unlink(missing_ok=True)
        return found

    def _restored(self, directory: Path) -> Claim | None:
        data = read_note(directory / _CLAIM)
        source = self._source(directory.name)
        ending = data.get("ending")
        if source is None and ending is None:
            # It was never taken: the file is still in the folder, or went its own way.
            shutil.rmtree(directory, ignore_errors=True)
            return None
        # What was noted may be lost, never the file: it then goes back under a name of its own.
        name = data.get("name") or directory.name + (source.suffix if source else "")
        claim = Claim(directory.name, name, stamp_from(data))
        claim.sha256 = str(data.get("sha256", ""))
        claim.job_id = str(data.get("job_id", ""))
        if ending is not None:
            claim.ending = Ending(Verdict(ending["verdict"]), ending["text"])
        return claim

    # --- looks ---------------------------------------------------------------------------------

    def look(self) -> Look:
        """Look at the whole folder.

        Raises:
            OSError: It cannot be looked at.
        """
        found: list[tuple[str, Stamp]] = []
        problems: list[str] = []
        waiting: list[tuple[str, int]] = [("", 0)]
        entries = 0
        while waiting:
            below, depth = waiting.pop()
            try:
                with os.scandir(self._root / below) as listing:
                    for entry in listing:
                        entries += 1
                        if entries > _MOST_ENTRIES or self._stopping.is_set():
                            problems.append(f"only {_MOST_ENTRIES:,} entries are looked at")
                            return Look(tuple(found), tuple(problems))
                        name = f"{below}{entry.name}"
                        if self._is_wanted(entry.name, top=not below):
                            found.extend(regular(name, entry))
                        elif self._is_entered(entry, depth):
                            waiting.append((f"{name}/", depth + 1))
            except OSError as error:
                if not below:
                    raise
                problems.append(f"{below!r} cannot be looked at: {error.strerror}")
        return Look(tuple(found), tuple(problems))

    def _is_wanted(self, name: str, *, top: bool) -> bool:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - called for every name there is
        if suffix.lower() not in self._folder.suffixes or name.startswith((".", "~$")):
            return False
        inner = os.path.splitext(stem)[1].lower()  # noqa: PTH122
        return inner not in _PARTIAL and not (top and name == SETTINGS_FILE)

    def _is_entered(self, entry: os.DirEntry[str], depth: int) -> bool:
        if self._folder.subfolders is Subfolders.IGNORE or depth >= _DEEPEST:
            return False
        ours = depth == 0 and entry.name in (DONE, FAILED)
        return not ours and not entry.name.startswith(".") and is_directory(entry)

    # --- take ----------------------------------------------------------------------------------

    def take(self, name: str, stamp: Stamp) -> Claim:
        """Take a file by renaming it, if it is still the one that was seen and nobody writes to it.

        Raises:
            NotTaken: It is not, somebody does, or another coordinator was faster.
            OSError: The folder's own directory cannot be written.
        """
        path = self._root / name
        if has_writer(path):
            raise NotTaken("")
        claim = Claim(secrets.token_hex(8), name, stamp)
        directory = self._taken / claim.id
        directory.mkdir(parents=True)
        try:
            self.note(claim)
            target = directory / plain_name(path.name)
            path.rename(target)
        except OSError as error:
            # The file is where it was; only the note about it is removed.
            shutil.rmtree(directory, ignore_errors=True)
            raise _why_not(error, name) from error
        if stamp_of(target) != stamp:
            # Somebody put another file, or a link, in its place at the last moment.
            self._give_back(claim, target)
            raise NotTaken("")
        files.sync_directory(directory)
        return claim

    def note(self, claim: Claim, **more: Any) -> None:
        """Write down, durably, what is known of a claim.

        Raises:
            OSError: It cannot be written.
        """
        path = self._note(claim)
        data = {**read_note(path), "name": claim.name, **attrs.asdict(claim.stamp), **more}
        data |= {"sha256": claim.sha256, "job_id": claim.job_id}
        write_note(path, data)

    def source_of(self, claim: Claim) -> Path:
        """Where the file of a claim is.

        Raises:
            Returned: It is not there any more.
        """
        found = self._source(claim.id)
        if found is None:
            self._forget(claim)
            raise Returned(f"{claim.name!r} is gone, though it was taken")
        return found

    def _source(self, claim_id: str) -> Path | None:
        try:
            names = [path for path in (self._taken / claim_id).iterdir() if path.name[0] != "."]
        except (FileNotFoundError, NotADirectoryError):
            return None
        return names[0] if names else None

    def _give_back(self, claim: Claim, source: Path) -> None:
        home = self._root / claim.name
        move(source, home.parent, home.name)
        self._forget(claim)

    def _forget(self, claim: Claim) -> None:
        shutil.rmtree(self._taken / claim.id, ignore_errors=True)

    # --- read ----------------------------------------------------------------------------------

    def sha256(self, claim: Claim) -> tuple[str, str]:
        """SHA-256 of a claim's file, and a sentence about an earlier file that held the same or "".

        Raises:
            Returned: It changed meanwhile and was given back to the folder, or it is gone.
            Stopped: The coordinator stops.
            OSError: It cannot be read.
        """
        source = self.source_of(claim)
        digest = hashlib.sha256()
        with source.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                if self._stopping.is_set():
                    raise Stopped
                digest.update(block)
        if stamp_of(source) != claim.stamp:
            self._give_back(claim, source)
            raise Returned(f"{claim.name!r} is still being written, and was given back")
        sha256 = digest.hexdigest()
        earlier = read_note(self._finished(sha256))
        if not earlier:
            return sha256, ""
        return sha256, f"It holds the same as {earlier['name']!r}, which became {earlier['text']}"

    def _finished(self, sha256: str) -> Path:
        return self._house / "finished" / sha256[:2] / f"{sha256}.json"

    # --- the end -------------------------------------------------------------------------------

    def settle(self, claim: Claim, ending: Ending) -> tuple[str, Stamp] | None:
        """Put a claim's file where it belongs at its end, and forget the claim.

        May be called again after it was interrupted anywhere.

        Returns:
            Name and stamp of the file if it was left in the folder, else None.

        Raises:
            OSError: It cannot be done now.
        """
        self.note(claim, ending={"verdict": ending.verdict.value, "text": ending.text})
        if ending.verdict is Verdict.DONE and claim.sha256:
            write_note(self._finished(claim.sha256), {"name": claim.name, "text": ending.text})
        left: tuple[str, Stamp] | None = None
        source = self._source(claim.id)
        if ending.verdict is Verdict.FAILED:
            self._set_aside(claim, source, ending)
        elif self._folder.after is After.LEAVE and source is not None:
            left = self._leave(claim, source)
        elif self._folder.after is After.DELETE and ending.verdict is Verdict.DONE:
            if source is not None:
                source.unlink()
        elif source is not None:
            place = self._move(claim, source, DONE)
            if ending.verdict is Verdict.TWIN:
                write_text(beside(place, _NOTE), ending.text)
        self._forget(claim)
        return left

    def _set_aside(self, claim: Claim, source: Path | None, ending: Ending) -> None:
        if source is not None:
            place = self._move(claim, source, FAILED)
        else:
            place = self._root / FAILED / (read_note(self._note(claim)).get("place") or claim.name)
            place.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside(place, _REASON), ending.text)

    def _leave(self, claim: Claim, source: Path) -> tuple[str, Stamp] | None:
        digest = hashlib.sha256(os.fsencode(claim.name)).hexdigest()
        record = {"name": claim.name, **attrs.asdict(claim.stamp)}
        write_note(self._house / "left" / f"{digest}.json", record)
        home = self._root / claim.name
        if os.path.lexists(home) and not is_same(source, home):
            # Another file came in its place, and is not to be mistaken for it.
            self._move(claim, source, DONE)
            return None
        place = move(source, home.parent, home.name)
        return (claim.name, claim.stamp) if place == home else None

    def _move(self, claim: Claim, source: Path, where: str) -> Path:
        """Give a claim's file its place below `done` or `failed`, once."""
        earlier = read_note(self._note(claim)).get("place")
        if isinstance(earlier, str) and is_same(source, self._root / where / earlier):
            source.unlink()
            return self._root / where / earlier
        directory = self._root / where / Path(claim.name).parent
        directory.mkdir(parents=True, exist_ok=True)
        place = files.choose_place(directory, shortened(Path(claim.name).name))
        self.note(claim, place=str(place.relative_to(self._root / where)))
        return move(source, directory, place.name)

    def _note(self, claim: Claim) -> Path:
        return self._taken / claim.id / _CLAIM


def _why_not(error: OSError, name: str) -> Exception:
    """What to raise when a file could not be renamed."""
    if isinstance(error, FileNotFoundError):
        return NotTaken("")
    if isinstance(error, PermissionError):
        # On Windows that is how a program that has it open shows itself.
        return NotTaken(f"{name!r} cannot be taken: {error.strerror}")
    if error.errno == errno.EXDEV:
        return NotTaken(f"{name!r} cannot be taken: it lies on another file system")
    return error
