"""Is there one order of concurrent calls, each between its begin and its end, that explains all answers?

The search of Wing and Gong with Lowe's memory of states already tried: at each step one of the calls that began before
the first end of those left is taken as the next one; a state reached twice with the same calls left is not tried again.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Recorded(NamedTuple):
    """One call on one register and what it was answered."""

    begun: float
    ended: float
    kind: str
    given: Any
    answer: Any


class Register(NamedTuple):
    """What one key holds (None: nothing) at which version, and the highest version that it ever had."""

    value: int | None
    version: int
    highest: int


EMPTY = Register(None, 0, 0)


def step(state: Register, call: Recorded) -> Register | None:  # noqa: PLR0911 - one answer a kind
    """Return the state after the call, None if it would have been answered otherwise."""
    current = state.version if state.value is not None else 0
    match call.kind:
        case "get":
            return state if call.answer == (state.value, current) else None
        case "put":
            return _written(state, call.given, call.answer)
        case "increment":
            return _written(state, (state.value or 0) + call.given, call.answer)
        case "swap":
            expected, value = call.given
            if call.answer == "conflict":
                return state if expected != current else None
            return _written(state, value, call.answer) if expected == current else None
        case "delete":
            if call.answer is not (state.value is not None):
                return None
            return Register(None, 0, state.highest)
    raise AssertionError(call.kind)


def _written(state: Register, value: int, answered: int) -> Register | None:
    """Versions rise; a new entry's may leave some out, because other keys of its workflow used them."""
    fits = answered == state.version + 1 if state.value is not None else answered > state.highest
    return Register(value, answered, answered) if fits else None


def is_linearizable(history: list[Recorded]) -> bool:
    """Whether such an order exists."""
    calls = sorted(history)
    tried: set[tuple[frozenset[int], Register]] = set()
    ahead: list[tuple[frozenset[int], Register]] = [(frozenset(range(len(calls))), EMPTY)]
    while ahead:
        left, state = ahead.pop()
        if not left:
            return True
        if (left, state) in tried:
            continue
        tried.add((left, state))
        first_end = min(calls[index].ended for index in left)
        for index in left:
            if calls[index].begun <= first_end:
                after = step(state, calls[index])
                if after is not None:
                    ahead.append((left - {index}, after))
    return False
