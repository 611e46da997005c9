"""The merges that a store does by itself, on packed values: as the scripts of the Redis store do them in Lua."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from ctxqueue import codec, envelopes
from ctxqueue.rules.merging import INEXACT, is_exact_number

if TYPE_CHECKING:
    from ctxqueue.effects import Operation

Why = Literal["merge_outside", "not_a_list"]


class CannotMerge(Exception):
    """It cannot be done here."""

    def __init__(self, why: Why) -> None:
        self.why = why


def merged(operation: Operation, held: bytes, value: bytes, most: int) -> bytes:
    """Return the packed result of a merge of two packed values; raises CannotMerge."""
    if len(held) + len(value) > most:
        raise CannotMerge("merge_outside")
    if envelopes.code_of(held):
        raise CannotMerge("merge_outside")
    left, right = codec.unpack(held), codec.unpack(value)
    if operation == "append":
        if not isinstance(left, list):
            raise CannotMerge("not_a_list")
        return codec.pack(left + right)
    if not is_exact_number(left) or not is_exact_number(right):
        raise CannotMerge("merge_outside")
    if operation == "maximum":
        return value if right > left else held
    if operation == "minimum":
        return value if right < left else held
    return codec.pack(_sum(left, right))


def _sum(left: Any, right: Any) -> Any:
    total = left + right
    if isinstance(total, float) and not math.isfinite(total):
        raise CannotMerge("merge_outside")
    if isinstance(total, int) and abs(total) >= INEXACT:
        raise CannotMerge("merge_outside")
    return total
