"""How pages are served: types, caching by what they hold, a strict policy, nothing beside them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.test.requesthelper import DummyChannel

from ffcluster.web.static_files import StaticFiles, mount_pages


@pytest.fixture(scope="module")
def files() -> StaticFiles:
    return StaticFiles.load()


def asked(files: StaticFiles, path: str, method: str = "GET", **headers: str) -> Any:
    """The request after it was answered, and what was written."""
    root = Resource()
    mount_pages(root, files)
    channel = DummyChannel()
    channel.site = Site(root)
    request = Request(channel, False)
    for name, value in headers.items():
        request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
    request.content = None
    request.gotLength(0)
    request.requestReceived(method.encode(), path.encode(), b"HTTP/1.1")
    _, _, body = channel.transport.written.getvalue().partition(b"\r\n\r\n")
    return request, body


def header(request: Request, name: str) -> str:
    return (request.responseHeaders.getRawHeaders(name) or [""])[0]


def test_page_names_its_files_by_what_they_hold_and_is_asked_for_anew(files: StaticFiles) -> None:
    request, body = asked(files, "/")
    assert request.code == 200
    assert header(request, "content-type") == "text/html; charset=utf-8"
    assert header(request, "cache-control") == "no-cache"
    assert f'"/static/{files.version}/main.js"'.encode() in body
    assert b'"/static/main.js"' not in body


def test_policy_allows_nothing_inline_and_no_other_host(files: StaticFiles) -> None:
    request, _ = asked(files, "/")
    policy = header(request, "content-security-policy")
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert header(request, "x-frame-options") == "DENY"
    assert header(request, "referrer-policy") == "no-referrer"


def test_file_by_fingerprint_is_kept_for_ever(files: StaticFiles) -> None:
    request, body = asked(files, f"/static/{files.version}/main.js")
    assert header(request, "cache-control") == "public, max-age=31536000, immutable"
    assert header(request, "content-type") == "text/javascript; charset=utf-8"
    assert body == files.files["main.js"].data
    plain, _ = asked(files, "/static/main.js")
    assert header(plain, "cache-control") == "no-cache"


def test_browser_that_has_it_is_sent_nothing(files: StaticFiles) -> None:
    first, _ = asked(files, "/static/style.css", accept_encoding="gzip")
    etag = header(first, "etag")
    again, body = asked(files, "/static/style.css", accept_encoding="gzip", if_none_match=etag)
    assert again.code == 304
    assert body == b""


def test_browser_that_takes_gzip_gets_it(files: StaticFiles) -> None:
    request, body = asked(files, "/static/style.css", accept_encoding="gzip, br")
    assert header(request, "content-encoding") == "gzip"
    assert header(request, "vary") == "accept-encoding"
    assert gzip.decompress(body) == files.files["style.css"].data


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/none.js", "/static/../models.py", "/static/%2e%2e/models.py",
     "/static/docs/", "/static/0000000000000000/main.js", "/static//main.js"],
)  # fmt: skip
def test_nothing_else_is_served(files: StaticFiles, path: str) -> None:
    request, body = asked(files, path)
    assert request.code == 404
    assert b"import" not in body


def test_other_contents_have_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    one = StaticFiles.load(tmp_path).version
    (tmp_path / "a.js").write_text("2")
    assert StaticFiles.load(tmp_path).version != one
