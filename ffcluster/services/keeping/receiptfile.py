"""Receipts as JSON: what `ffcluster job --receipt` writes and `ffcluster reproduce` reads."""

from __future__ import annotations

from typing import Any

import orjson
from cattrs import BaseValidationError

from ffcluster.converting import make_converter, to_jsonable
from ffcluster.core.receipts import JobReceipt
from ffcluster.errors import InvalidOption

# Raised when a file of an older version would be misunderstood; further keys do not raise it.
RECEIPT_FORMAT = 1
_converter = make_converter()


def receipt_document(receipt: JobReceipt) -> dict[str, Any]:
    """A receipt as plain data."""
    return {"receipt_format": RECEIPT_FORMAT, **to_jsonable(receipt)}


def receipt_text(receipt: JobReceipt) -> str:
    """A receipt as indented JSON."""
    return orjson.dumps(receipt_document(receipt), option=orjson.OPT_INDENT_2).decode()


def read_receipt(data: bytes, name: str) -> JobReceipt:
    """Read what `receipt_text` wrote.

    Args:
        data: The file's content.
        name: What to call it in errors.

    Raises:
        InvalidOption: It is not a receipt that this version understands.
    """
    try:
        document = orjson.loads(data)
        found = document.get("receipt_format") if isinstance(document, dict) else None
        if found != RECEIPT_FORMAT:
            raise InvalidOption(
                message=f"{name} is not a receipt of format {RECEIPT_FORMAT}.",
                advice="`ffcluster job ID --receipt FILE` writes one; a later version of ffcluster "
                "may write another format.",
                option="--receipt",
            )
        return _converter.structure(document, JobReceipt)
    except (ValueError, TypeError, KeyError, RecursionError, BaseValidationError) as error:
        raise InvalidOption(
            message=f"{name} is not a whole receipt.",
            advice="Write it anew: ffcluster job ID --receipt FILE",
            option="--receipt",
        ) from error
