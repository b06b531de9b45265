"""What the REST API answers, in its own types. Members that nobody here knows are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cattrs import BaseValidationError

from ffcluster.converting import make_converter
from ffcluster.errors import ProtocolError

_Model = TypeVar("_Model")
_converter = make_converter()


def read(model: type[_Model], answer: object) -> _Model:
    """Make a `model` of JSON.

    Raises:
        ProtocolError: It is none.
    """
    try:
        return _converter.structure(answer, model)
    except (BaseValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(
            message=f"The coordinator's answer is no {model.__name__}.",
            advice="Install the same version of ffcluster here as on the coordinator.",
        ) from error


def members(answer: object) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        ProtocolError: It is none.
    """
    if isinstance(answer, dict):
        return answer
    raise ProtocolError(message="The coordinator's answer is no JSON object.")
