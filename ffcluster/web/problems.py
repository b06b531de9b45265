"""Problems as RFC 9457 has them: what every refusal looks like, and which status goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import attrs

from ffcluster.errors import Code, ErrorReport, FfclusterError
from ffcluster.net.door import PROBLEM_URN

# What is wrong with a source, a setting or a file is wrong with what was asked for.
_STATUS = {
    Code.INVALID_OPTION: 400,
    Code.UNSUPPORTED_OPTION: 400,
    Code.PROTOCOL: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.SOURCE_MISSING: 404,
    Code.CONFLICT: 409,
    Code.EVENTS_GONE: 409,
    Code.STALE: 412,
    Code.TOO_MANY: 429,
    Code.INTERNAL: 500,
    Code.HELPER_DIED: 500,
    Code.FFMPEG_MISSING: 500,
    Code.OUTPUT_UNWRITABLE: 500,
    Code.STORE_UNAVAILABLE: 503,
    Code.STORE_FAILED: 503,
    Code.DISK_FULL: 507,
}
_OTHERS = 422


@attrs.frozen
class Fault:
    """One thing that is wrong with a request.

    Attributes:
        pointer: JSON pointer of the member in the body; `?name` for a query parameter.
        detail: What is wrong with it.
    """

    pointer: str
    detail: str


@attrs.frozen
class Problem:
    """Why a request was not carried out.

    Attributes:
        type: Names the kind of problem; stable.
        title: The same for a person.
        status: The status of the answer.
        detail: What is wrong, naming the thing.
        advice: What can be done about it; may be empty.
        code: The kind of problem as everywhere in ffcluster; stable.
        errors: What is wrong with single members of the request.
    """

    type: str
    title: str
    status: int
    detail: str
    advice: str
    code: str
    errors: tuple[Fault, ...] = ()


@attrs.frozen(kw_only=True)
class BadRequest(FfclusterError):
    """Members of a request are not what they must be."""

    code = Code.INVALID_OPTION
    faults: tuple[Fault, ...] = ()


@attrs.frozen(kw_only=True)
class HttpRefusal(FfclusterError):
    """What only HTTP knows: a method that is not there, a wrong media type, a range outside.

    Attributes:
        status: The status that says so.
        headers: What goes with it.
    """

    code = Code.REFUSED
    status: HTTPStatus
    headers: Mapping[str, str] = attrs.field(factory=dict)


def status_of(code: Code) -> int:
    """The status of answers with a problem of this code."""
    return _STATUS.get(code, _OTHERS)


def problem_of(error: BaseException) -> Problem:
    """Describe an error to whoever asked; of what nobody foresaw only that it happened."""
    if not isinstance(error, FfclusterError):
        return _problem(Code.INTERNAL, "The coordinator failed; its log says how.", "")
    report = ErrorReport.of(error)
    status = error.status.value if isinstance(error, HttpRefusal) else status_of(report.code)
    faults = error.faults if isinstance(error, BadRequest) else ()
    return _problem(report.code, report.message, report.advice, status, faults)


def _problem(
    code: Code, detail: str, advice: str, status: int | None = None, faults: tuple[Fault, ...] = ()
) -> Problem:
    status = status or status_of(code)
    if code is Code.REFUSED and status != _OTHERS:
        phrase = HTTPStatus(status).phrase
        return Problem("about:blank", phrase, status, detail, advice, code.value, faults)
    title = code.value.replace("_", " ").capitalize()
    return Problem(f"{PROBLEM_URN}{code.value}", title, status, detail, advice, code.value, faults)
