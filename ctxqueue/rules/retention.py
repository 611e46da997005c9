"""How long memories are kept, and how many of one owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ctxqueue.clock import LONGEST_DURATION
from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from ctxqueue.effects import MemoryKind

DAY: Final = 86_400.0


class Retention(msgspec.Struct, frozen=True):
    """Of one type: the age in seconds from which on a memory goes, and the number of an owner's that stay."""

    max_age: float
    max_rows: int

    def __post_init__(self) -> None:
        if type(self.max_age) not in (int, float) or not 0 < self.max_age <= LONGEST_DURATION:
            raise ConfigurationError(f"max_age is {self.max_age!r}: it must be a number above 0, in seconds")
        if type(self.max_rows) is not int or self.max_rows < 1:
            raise ConfigurationError(f"max_rows is {self.max_rows!r}: it must be a whole number, at least 1")


DEFAULTS: Final[Mapping[MemoryKind, Retention]] = {
    "semantic": Retention(365 * DAY, 10_000),
    "episodic": Retention(90 * DAY, 5_000),
    "procedural": Retention(180 * DAY, 2_000),
}
"""As the reference document has them."""


def retention_of(given: Mapping[str, Any] | None) -> dict[MemoryKind, Retention]:
    """Return the defaults with what was given laid over them; raises ConfigurationError.

    A value is a `Retention`, a pair, or a mapping of its fields.
    """
    kept = dict(DEFAULTS)
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"the retention is a {type(given).__name__}: give a mapping of memory types")
    for unknown in set(given or {}) - set(DEFAULTS):
        raise ConfigurationError(f"no retention for {unknown!r}: memory types are {', '.join(DEFAULTS)}")
    for kind in DEFAULTS:
        if not given or kind not in given:
            continue
        value = given[kind]
        try:
            if isinstance(value, Mapping):
                kept[kind] = Retention(**value)
            else:
                kept[kind] = value if isinstance(value, Retention) else Retention(*value)
        except TypeError as error:
            raise ConfigurationError(f"the retention of {kind} is {value!r:.80}: give max_age and max_rows") from error
    return kept
