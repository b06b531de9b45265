"""The process that reads one source: `python -m ffcluster.media.helper`.

It keeps PyAV, and whatever a hostile file does to it, out of the coordinator. One JSON object a
line on stdin, `{"id": 1, "op": "index", ...}`; one a line on stdout: `{"id": 1, "result": ...}`,
`{"id": 1, "error": {"code", "message", "advice", "detail"}}` or `{"id": 1, "progress": 0.5}`.
It ends when stdin does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ffcluster.media.opening import HelperError

Operation = Callable[[dict[str, Any], Callable[[float], None]], Any]


class SourceSession:
    """What the helper keeps between calls: the source and its index, opened at need."""

    def __init__(self) -> None:
        self._cutter: Any = None
        self._borders: Any = None

    def index(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Index a source; see `ffcluster.media.scan`."""
        from ffcluster.media.scan import scan

        source, index_path = Path(call["source"]), Path(call["index"])
        return scan(source, index_path, allow_damaged=call["allow_damaged"], report=report)

    def facts(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """What the indexed source holds."""
        from ffcluster.media.index import MediaIndex

        index = MediaIndex(Path(call["index"]))
        try:
            return index.header["facts"]
        finally:
            index.close()

    def cut(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Cut a piece; see `ffcluster.media.split`."""
        from ffcluster.media.split import Cutter

        if self._cutter is None:
            self._cutter = Cutter(Path(call["source"]), Path(call["index"]))
        return self._cutter.cut(
            call["first"], call["stop"], call["keyframes"], call["context"], Path(call["target"])
        )

    def check(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Demux a result, and compare it with the source; see `ffcluster.media.results`."""
        from ffcluster.media.confine import confined, time_limit_s
        from ffcluster.media.results import examine

        result = Path(call["result"])
        compare = self._comparison(call) if call["borders"] else None
        # Of a raw stream all that lies before a segment is read, too.
        files = (result, Path(call["source"])) if compare else (result,)
        try:
            with confined(time_limit_s(*files), call["pixels"]):
                return examine(result, call["codec"], call["frames"], compare)
        except MemoryError:
            raise HelperError(
                "result_invalid",
                "A segment's result is not valid: reading it takes more memory than it may",
            ) from None

    def _comparison(self, call: dict[str, Any]) -> Any:
        from ffcluster.media.borders import Borders, Segment

        if self._borders is None:
            self._borders = Borders(Path(call["source"]), Path(call["index"]))
        borders = call["borders"]
        segment = Segment(
            first=borders["first"],
            frames=call["frames"],
            filters=[(name, dict(options)) for name, options in borders["filters"]],
            context=borders["context"],
            others=tuple(borders["others"]),
        )
        return partial(self._borders.compare, segment=segment)

    def verify(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Compare a finished file with its source; see `ffcluster.media.proof`."""
        from ffcluster.media.proof import verify

        return verify(call, report)

    def compare(self, call: dict[str, Any], report: Callable[[float], None]) -> Any:
        """Compare two finished files; see `ffcluster.media.proof`."""
        from ffcluster.media.proof import compare

        return compare(call, report)


def serve(operations: dict[str, Operation]) -> None:
    """Answer calls from stdin until it ends."""
    output = sys.stdout.buffer

    def say(message: dict[str, Any]) -> None:
        output.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        output.flush()

    for line in sys.stdin.buffer:
        call = json.loads(line)
        number = call["id"]
        try:
            result = operations[call["op"]](call, partial(_report, say, number))
        except HelperError as error:
            say({"id": number, "error": _described(error)})
        except OSError as error:
            say({"id": number, "error": _system_error(error)})
        except Exception as error:  # noqa: BLE001 - everything must reach the caller as data
            message = f"{type(error).__name__}: {error}"
            say({"id": number, "error": {"code": "internal", "message": message}})
        else:
            say({"id": number, "result": result})


def _report(say: Callable[[dict[str, Any]], None], number: int, part: float) -> None:
    say({"id": number, "progress": part})


def _described(error: HelperError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "advice": error.advice,
        "detail": error.detail,
    }


def _system_error(error: OSError) -> dict[str, Any]:
    import errno

    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    code = "disk_full" if full else "internal"
    return {"code": code, "message": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve one source."""
    session = SourceSession()
    serve(
        {
            "index": session.index,
            "facts": session.facts,
            "cut": session.cut,
            "check": session.check,
            "verify": session.verify,
            "compare": session.compare,
        }
    )


if __name__ == "__main__":
    main()
