"""Objects of the model to plain JSON values and back, for the wire and for what is stored.

Strict about types: nothing is turned into another type on the way. Tolerant of unknown keys, which
later versions may have added. Knows no message, no table and no limit but that of a text.
"""

from __future__ import annotations

import enum
import math
from array import array
from collections.abc import Callable
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

LONGEST_TEXT = 64 * 1024
_SCALARS = frozenset({str, int, float, bool, NoneType})


