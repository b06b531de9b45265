"""Move all that one store holds to another: `python -m ffcluster.store.copying FROM TO`.

FROM and TO are URLs as `--database` takes them; a relative SQLite path starts at the current
directory. FROM is only read, and TO must be empty. No coordinator may use either meanwhile.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ffcluster.core.durable import Saved
from ffcluster.errors import Conflict, FfclusterError
from ffcluster.store.interface import JobStore
from ffcluster.store.opening import open_store


def copy_store(source: JobStore, target: JobStore) -> int:
    """Copy everything; give the number of jobs. Both stores are open.

    Raises:
        Conflict: The target is not empty.
        FfclusterError: See `JobStore`; the target may then hold a part, and is to be thrown away.
    """
    if target.load() != Saved() or target.events(-1, 1) or target.tokens():
        raise Conflict(
            message="The database to copy to is not empty.", advice="Name a fresh one, or empty it."
        )
    jobs = 0
    for portion in source.everything():
        target.apply([portion])
        jobs += len(portion.jobs)
    return jobs


def main(arguments: list[str]) -> int:
    """Copy from the first URL to the second; give the exit status."""
    if len(arguments) != 2:
        print(__doc__)
        return 2
    try:
        source, target = (open_store(url, Path.cwd()) for url in arguments)
        try:
            source.open()
            target.open()
            print(f"{copy_store(source, target)} jobs were copied.")
        finally:
            target.close()
            source.close()
    except FfclusterError as error:
        print(f"{error.message} {error.advice}".rstrip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
