"""Steps of a run whose result is kept: a body that runs again gets the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import codec
from ctxqueue.effects import Flow, Once, Remembered, do
from ctxqueue.errors import AttemptSuperseded, CapacityError, ValueTooLarge
from ctxqueue.models import checked_name
from ctxqueue.settings import MAX_RUN_CALLS

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.identity import Attempt


def recall(terms: Terms, attempt: Attempt, name: str) -> Flow[bytes | None]:
    """Return a step's packed result, if one is kept."""
    checked_name(name, "name")
    found = yield from _ask(terms, attempt, name, None)
    return found.value if found.answer == "found" else None


def keep(terms: Terms, attempt: Attempt, name: str, result: Any) -> Flow[bytes]:
    """Keep a step's result; return the packed one that is kept. Raises NotSerializable, ValueTooLarge."""
    packed = codec.pack(result)
    if len(packed) > terms.settings.max_value:
        raise ValueTooLarge(
            f"the result of step {name!r} takes {len(packed)} bytes: at most {terms.settings.max_value}; keep it"
            " elsewhere and return where, or raise ctxqueue_max_value"
        )
    return (yield from _ask(terms, attempt, name, packed)).value


def _ask(terms: Terms, attempt: Attempt, name: str, packed: bytes | None) -> Flow[Remembered]:
    effect = Once(attempt.home, attempt.run_id, attempt.epoch, name, packed, terms.bounds.horizon_us)
    reply = yield from do(effect)
    if reply.answer == "superseded":
        raise AttemptSuperseded(f"run {attempt.run_id} was taken over: step {name!r} is another attempt's")
    if reply.answer == "calls":
        raise CapacityError(f"run {attempt.run_id} has made {MAX_RUN_CALLS} calls: split the task")
    return reply
