"""How a rig is built, and the encoder of its workers: a small script around the real ffmpeg.

The script paces the encoding, so that a film of some seconds takes some seconds without using up
the machine, writes down every encode that begins, and does as it is told by files: hang, wait,
fail, crawl.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.inputs import ffmpeg_path

# What an encode reads of the film in one second, as a multiple of real time.
PACE = 2.5
_SCRIPT = """#!/bin/sh
# The encoder of a worker that is to be broken.
case "$*" in
  *end=0.500000*) exec "{ffmpeg}" "$@" ;;  # a trial
  *-copyts*libx264*) ;;
  *) exec "{ffmpeg}" "$@" ;;
esac
echo "$*" >>"{control}/encodes"
if rm "{control}/hang" 2>/dev/null; then exec sleep 3600; fi
while [ -e "{control}/hold" ]; do
  case "$*" in *"$(cat "{control}/hold")"*) sleep 0.05 ;; *) break ;; esac
done
if [ -e "{control}/poison" ]; then
  case "$*" in
    *"$(cat "{control}/poison")"*) echo "Invalid data found: poisoned" >&2; exit 69 ;;
  esac
fi
pace={pace}
if rm "{control}/crawl" 2>/dev/null; then pace=0.02; fi
exec "{ffmpeg}" -readrate "$pace" -readrate_initial_burst 0 "$@"
"""


@attrs.frozen
class Layout:
    """How a rig is built.

    Attributes:
        workers: How many there are, with one slot each.
        proxied: Whether each talks to the coordinator through a proxy that can be told to fail.
        namespaced: Whether each lives in a network namespace behind a link that can be cut.
        server: Further options of the coordinator.
        volumes: Directories of the rig that are small disks of their own, in MiB.
        postgres: Whether its database is a PostgreSQL server of its own.
        versions: Processes that run the earlier version.
    """

    workers: int = 2
    proxied: bool = False
    namespaced: bool = False
    server: tuple[str, ...] = ()
    volumes: Mapping[str, int] = attrs.field(factory=dict)
    postgres: bool = False
    versions: tuple[str, ...] = ()


def write_encoder(script: Path, control: Path) -> None:
    """Write the script that obeys the files in `control`."""
    script.write_text(_SCRIPT.format(ffmpeg=ffmpeg_path(), control=control, pace=PACE))
    script.chmod(0o755)
