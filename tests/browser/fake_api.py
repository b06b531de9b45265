"""An API with as many jobs, segments and workers as a test wants, behind the real page's files."""

from __future__ import annotations

import io
import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import attrs
from PIL import Image

import ffcluster.web

STATIC = Path(ffcluster.web.__file__).with_name("static")
TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
}  # fmt: skip
# As strict as the coordinator's own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
AT = "2026-01-02T03:04:05.678Z"
SEGMENT_FRAMES = 24


def job(number: int, **changes: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "id": f"job{number}", "source_name": f"film {number}.mkv", "output_name": f"{number}.mp4",
        "state": "Processing", "ended": False, "reason": "", "priority": 0, "paused": False,
        "profile": {"name": "", "codec": "h264", "rate": {"mode": "quality", "quality": 20}},
        "container": "mp4", "encoder": "libx264", "frame_count": 240_000, "duration_s": 10_000.0,
        "frames_done": 120_000, "frames_committed": 110_000, "segment_count": 10_000,
        "segments_committed": 4_600, "fps": 1234.5, "speed": 51.4, "eta_s": 97.0,
        "eta_low_s": 80.0, "eta_high_s": 140.0, "elapsed_s": 100.0,
        "predicted_size_bytes": 4_200_000_000, "retries": 3, "warnings": [], "error": None,
        "outcome": None, "submitted_at": AT, "ended_at": None, "etag": "1", "shares": [],
        "source_uploaded": False, "source_kept_until": None,
        **changes,
    }  # fmt: skip


def worker(number: int) -> dict[str, Any]:
    """A worker as the API shows it."""
    return {
        "id": f"w{number}", "name": f"worker-{number:04}", "state": "Processing",
        "address": f"10.0.{number // 250}.{number % 250}", "version": "0.1.0",
        "platform": "Linux x86_64", "ffmpeg": "7.1", "builds": ["7.1"], "cpus": 16,
        "draining": False, "drained_by_operator": False, "running": 2, "fps": 61.2,
        "average_fps": 58.3, "segments_done": 12, "frames_done": 4000, "failures": 0,
        "capabilities": [
            {"encoder": "libx264", "codec": "h264", "backend": "software", "device": "",
             "slots": 2, "bit_depths": [8]},
            {"encoder": "hevc_nvenc", "codec": "hevc", "backend": "nvenc", "device": "cuda:0",
             "slots": 3, "device_name": "NVIDIA GeForce RTX 4070", "driver": "560.35",
             "bit_depths": [8, 10]},
        ],
        "diagnoses": [{
            "backend": "vaapi", "device": "/dev/dri/renderD128", "encoder": "",
            "cause": "the driver has no encoder", "trouble": "missing",
            "hint": "Install the vendor's driver.",
        }],
        "measurements": [], "quarantines": [], "plugins": [], "last_heard_at": AT,
        "load": {
            "cpu_percent": 87.0, "memory_used_bytes": 9_000_000_000,
            "memory_total_bytes": 32_000_000_000,
            "gpus": [{"name": "RTX 4070", "utilisation_percent": 71.0,
                      "memory_used_bytes": 2_000_000_000, "temperature_c": 63.0}],
        },
    }  # fmt: skip


def state_of(index: int, total: int) -> str:
    """The state of a segment of a job that is about half done."""
    done = index * 100 // total
    if done < 46:
        return "committed"
    return "checking" if done < 47 else "assigned" if done < 52 else "pending"


def segment(index: int, total: int) -> dict[str, Any]:
    """A segment as the API lists it."""
    state = state_of(index, total)
    committed = state == "committed"
    return {
        "first_frame": index * SEGMENT_FRAMES, "frame_count": SEGMENT_FRAMES, "state": state,
        "worker": "" if state == "pending" else f"worker-{index % 1000:04}", "attempts": 1,
        "encode_s": 2.5 if committed else None, "encoder": "libx264", "device": "",
        "size_bytes": 90_000 + index % 70 * 1000 if committed else None,
    }  # fmt: skip


@attrs.define
class FakeApi:
    """What the API says; tests change it as they like.

    Attributes:
        asked: Paths of all requests, in order.
        held: Part of the paths whose answers are made, but not sent; "" for none.
        streams: What is to be said to every page that listens.
        resumed: `Last-Event-ID` of every stream that was opened.
        scope: What the page's token opens.
        asks: Whether a token is asked for.
        tokens: Those that were given out.
    """

    jobs: list[dict[str, Any]] = attrs.field(factory=list)
    workers: list[dict[str, Any]] = attrs.field(factory=list)
    segments: int = 10_000
    asked: list[str] = attrs.field(factory=list)
    held: str = ""
    streams: list[queue.SimpleQueue[str]] = attrs.field(factory=list)
    resumed: list[str | None] = attrs.field(factory=list)
    url: str = ""
    scope: str = "admin"
    asks: bool = False
    tokens: list[dict[str, Any]] = attrs.field(factory=list)

    def tell(self, kind: str, data: dict[str, Any], number: int = 0) -> None:
        """Send an event to every page that listens."""
        named = f"id: {number}\n" if number else ""
        for stream in self.streams:
            stream.put(f"{named}event: {kind}\ndata: {json.dumps(data)}\n\n")

    def hang_up(self) -> None:
        """End every stream."""
        streams, self.streams = self.streams, []
        for stream in streams:
            stream.put("")

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """The JSON at a path, or None."""
        limit = int(query.get("limit", 50))
        start = int(query.get("cursor", 0))
        match path.strip("/").split("/"):
            case ["status"]:
                return self._status()
            case ["me"]:
                return self._me()
            case ["tokens"]:
                return {"items": self.tokens, "next_cursor": None}
            case ["jobs"]:
                return _page(self.jobs, start, limit)
            case ["jobs", job_id]:
                return next(one for one in self.jobs if one["id"] == job_id)
            case ["jobs", _, "segments"]:
                rows = [segment(i, self.segments) for i in range(self.segments)]
                return _page(rows, start, limit)
            case ["jobs", _, "segments", first]:
                return self._segment(int(first))
            case ["jobs", _, "attempts", epoch]:
                return self._attempt(int(epoch))
            case ["jobs", _, "filmstrip"]:
                return self._filmstrip(query)
            case ["jobs", _, "gantt"]:
                return self._gantt(query)
            case ["workers"]:
                return _page(self.workers, start, limit)
            case ["workers", worker_id]:
                return next(one for one in self.workers if one["id"] == worker_id)
            case ["profiles"] | ["webhooks"] | ["events", "log"]:
                return {"items": [], "next_cursor": None, "last_event": 0}
        return None

    def _me(self) -> dict[str, Any]:
        opens = {
            "admin": ["admin", "client", "viewer", "worker"], "client": ["client", "viewer"],
            "viewer": ["viewer"],
        }  # fmt: skip
        return {"name": "studio", "scope": self.scope, "scopes": opens[self.scope], "token_id": "t"}

    def _status(self) -> dict[str, Any]:
        return {
            "version": "0.1.0", "started_at": AT, "uptime_s": 10.0, "ffmpeg": "7.1",
            "required_workers": 1, "jobs": {"Processing": len(self.jobs)},
            "workers": {"Processing": len(self.workers)}, "fps": 1234.5, "warnings": [],
            "token_required": self.asks, "last_event": 0, "disk": {"used_bytes": 0},
            "worker_command": "twistd -n ffcluster-worker --server-ip 10.0.0.1 --token-file FILE",
        }  # fmt: skip

    def _segment(self, first: int) -> dict[str, Any]:
        found = segment(first // SEGMENT_FRAMES, self.segments)
        return {**found, "attempts": [self._attempt(first + 1)]}

    def _attempt(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch, "worker": "worker-0001", "end": "committed", "speculative": False,
            "encoder": "libx264", "device": "", "encode_s": 2.5, "error": None, "notes": [],
            "argv": ["ffmpeg", "-i", "piece 1.mkv", "-c:v", "libx264", "out.mkv"],
            "log_tail": ["x264 [info]: profile High, level 3.1"],
        }  # fmt: skip

    def _filmstrip(self, query: dict[str, str]) -> dict[str, Any]:
        frames = self.segments * SEGMENT_FRAMES
        first, stop = int(query.get("first", 0)), int(query.get("stop", frames))
        shown = range(first // SEGMENT_FRAMES, -(-stop // SEGMENT_FRAMES))
        each = -(-len(shown) // min(400, int(query.get("buckets", 200))))
        buckets = [
            self._bucket(shown[i : i + each]) for i in range(0, len(shown), each)
        ]  # fmt: skip
        return {
            "frame_count": frames, "duration_s": frames / 24, "first": first, "stop": stop,
            "buckets": buckets,
        }  # fmt: skip

    def _bucket(self, indexes: range) -> dict[str, Any]:
        rows = [segment(i, self.segments) for i in indexes]
        states: dict[str, int] = {}
        for row in rows:
            states[row["state"]] = states.get(row["state"], 0) + SEGMENT_FRAMES
        sizes = [row["size_bytes"] for row in rows if row["size_bytes"]]
        return {
            "first_frame": rows[0]["first_frame"], "frame_count": len(rows) * SEGMENT_FRAMES,
            "segments": len(rows), "states": states, "size_bytes": sum(sizes) if sizes else None,
            "worker": rows[0]["worker"] or None if len(rows) == 1 else None, "encoder": "libx264",
            "retries": int(indexes[0] % 170 == 3), "speculative": indexes[0] % 130 == 5,
        }  # fmt: skip

    def _gantt(self, query: dict[str, str]) -> dict[str, Any]:
        ends = ("committed", "committed", "committed", "failed", "superseded", "live")
        lanes = []
        for number, one in enumerate(self.workers):
            bars = [
                {
                    "epoch": number * 6 + i, "first_frame": i * SEGMENT_FRAMES, "merged": 1,
                    "frame_count": SEGMENT_FRAMES, "start_s": i * 15 + number % 7,
                    "end_s": None if end == "live" else i * 15 + number % 7 + 13.5,
                    "state": "ended", "end": end, "speculative": i == 2, "fallback": number == 3,
                    "probe": i == 0, "encoder": "libx264", "device": "",
                }
                for i, end in enumerate(ends)
            ]  # fmt: skip
            lanes.append({"worker_id": one["id"], "worker": one["name"], "bars": bars})
        first = int(query.get("first_lane", 0))
        return {
            "now_s": 100.0, "from_s": 0.0, "to_s": 100.0, "first_lane": first,
            "lanes": lanes[first : first + int(query.get("lanes", 2000))],
            "lane_count": len(lanes),
        }  # fmt: skip


def _page(items: list[dict[str, Any]], start: int, limit: int) -> dict[str, Any]:
    stop = start + limit
    return {"items": items[start:stop], "next_cursor": str(stop) if stop < len(items) else None}


def _thumbnail(frame: int) -> bytes:
    shade = frame // 300 % 255
    file = io.BytesIO()
    Image.new("RGB", (96, 54), (shade, 120, 255 - shade)).save(file, "JPEG")
    return file.getvalue()


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            url = urlparse(self.path)
            api.asked.append(self.path)
            path = url.path.removeprefix("/api/v1")
            if path == url.path:
                self._file(path)
            elif path == "/events":
                with suppress(OSError):
                    self._events()
            elif "/thumbnails/" in path:
                self._send(_thumbnail(int(path.rpartition("/")[2])), "image/jpeg")
            else:
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                body = json.dumps(api.answer(path, query)).encode()
                while api.held and api.held in self.path:
                    time.sleep(0.01)
                self._send(body, "application/json")

        def _file(self, path: str) -> None:
            file = STATIC / (path.removeprefix("/static/") if path != "/" else "index.html")
            if file.is_file():
                self._send(file.read_bytes(), TYPES[file.suffix])
            else:
                self.send_error(404)

        def _send(self, body: bytes, media_type: str) -> None:
            self.send_response(200)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", POLICY)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def _events(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            hello = {"version": "0.1.0", "last_event": 0, "server_time": AT}
            api.resumed.append(self.headers["Last-Event-ID"])
            stream: queue.SimpleQueue[str] = queue.SimpleQueue()
            api.streams.append(stream)
            self.wfile.write(f"event: hello\ndata: {json.dumps(hello)}\n\n".encode())
            while text := stream.get():
                self.wfile.write(text.encode())

    return Handler


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve it on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield api
    finally:
        api.hang_up()
        server.shutdown()
        server.server_close()
