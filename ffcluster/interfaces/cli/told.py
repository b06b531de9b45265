"""The options of a job's own webhook: who is told what becomes of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster.errors import InvalidOption

if TYPE_CHECKING:
    from ffcluster.web.webhooks import WantedWebhook

# A secret is 95 characters at most; what is larger is another file.
_LONGEST_SECRET = 4096


def webhook_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options; they arrive as one `webhook: WantedWebhook | None`."""

    @functools.wraps(function)
    def with_webhook(*args: Any, **given: Any) -> Any:
        webhook = _wanted(given.pop("webhook"), given.pop("webhook_secret_file"))
        return function(*args, webhook=webhook, **given)

    decorated: Callable[..., Any] = with_webhook
    for option in (
        click.option(
            "--webhook-secret-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with the secret, whsec_..., that it is signed with.  [default: not signed]",
        ),
        click.option(
            "--webhook",
            metavar="URL",
            help="Have this URL told when the job is completed, failed or cancelled.",
        ),
    ):
        decorated = option(decorated)
    return decorated


def _wanted(url: str | None, secret_file: Path | None) -> WantedWebhook | None:
    if url is None:
        if secret_file is not None:
            raise InvalidOption(
                message="--webhook-secret-file needs --webhook URL.", option="--webhook-secret-file"
            )
        return None
    from ffcluster.web.webhooks import WantedWebhook

    secret = None if secret_file is None else _read_secret(secret_file)
    return WantedWebhook(url, secret=secret)


def _read_secret(path: Path) -> str:
    """Read a secret; the coordinator says whether it can be used."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST_SECRET).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidOption(
            message=f"--webhook-secret-file={path} cannot be read: {reason}.",
            option="--webhook-secret-file",
        ) from error
    if not text:
        raise InvalidOption(
            message=f"--webhook-secret-file={path} is empty.", option="--webhook-secret-file"
        )
    return text
