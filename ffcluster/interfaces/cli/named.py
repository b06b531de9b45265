"""What a command line names: a coordinator, the file with its token, and the one with profiles.

Reads both files, and refuses what is in neither form; knows no command and no option.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ffcluster.core.profile import Profile
from ffcluster.errors import InvalidOption
from ffcluster.interfaces.cli.output import Output

DEFAULT_COORDINATOR = "ws://localhost:5001"


def read_token(path: Path | None, output: Output) -> str | None:
    """Read the token a command was pointed to, and warn when others can read it too.

    Without a file, the environment may hold the token itself.

    Raises:
        InvalidOption: When the file holds no usable token.
    """
    from ffcluster.services.settings.config import read_token_file

    if path is None:
        return os.environ.get("FFCLUSTER_TOKEN", "").strip() or None
    token, warnings = read_token_file(path)
    for warning in warnings:
        output.warn(warning)
    return token


def profiles_from(path: Path | None) -> tuple[Path, Mapping[str, Profile]]:
    """Read the profiles file; answers its path and the profiles by name.

    Args:
        path: The file; None takes `profiles.toml` in the user's settings, which may be missing.

    Raises:
        InvalidOption: When it cannot be read, or holds what is not known, with its path.
    """
    import platformdirs

    from ffcluster.encoders.params import read_profiles

    found = path or platformdirs.user_config_path("ffcluster", appauthor=False) / "profiles.toml"
    try:
        text = found.read_text("utf-8")
    except FileNotFoundError:
        if path is None:
            return found, {}
        raise InvalidOption(
            message=f"There is no profiles file {path}.", option="--profiles"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(
            message=f"The profiles file {found} cannot be read: {error}.", option="--profiles"
        ) from error
    return found, read_profiles(text, str(found))
