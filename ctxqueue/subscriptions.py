"""What a caller holds of a subscription, blocking and awaited."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import AccessDenied, InvalidInput
from ctxqueue.flows import subscribing
from ctxqueue.flows.auditing import tell, told
from ctxqueue.rules.changes import checked_patterns, checked_when

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ctxqueue.effects import Flow, KeptTrigger, TriggerState
    from ctxqueue.flows.signatures import KeptSubscription
    from ctxqueue.handles import Handle

    Run = Callable[[Flow[Any]], Any]
    AsyncRun = Callable[[Flow[Any]], Awaitable[Any]]


class _Subscription:
    """What both faces have in common: how it stood when it was looked at."""

    __slots__ = ("_handle", "id", "patterns", "reason", "state")

    def __init__(
        self, handle: Handle, subscription_id: str, patterns: tuple[str, ...], state: TriggerState, reason: str
    ) -> None:
        self._handle = handle
        self.id = subscription_id
        self.patterns = patterns
        self.state = state
        """ARMED, CANCELLED or FAILED, with a ``reason``."""
        self.reason = reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state}: {', '.join(self.patterns)}>"

    def _cancel(self) -> Flow[bool]:
        return subscribing.cancel(self._handle.workflow_id, self._handle.agent, self.id)


class Subscription(_Subscription):
    """A signature that is sent whenever others have changed what it is about."""

    __slots__ = ("_run",)

    def __init__(self, run: Run, *given: Any) -> None:
        super().__init__(*given)
        self._run = run

    def cancel(self) -> bool:
        """End it; False if it had ended."""
        ended: bool = self._run(self._cancel())
        return ended


class AsyncSubscription(_Subscription):
    """The same for event loops."""

    __slots__ = ("_run",)

    def __init__(self, run: AsyncRun, *given: Any) -> None:
        super().__init__(*given)
        self._run = run

    async def cancel(self) -> bool:
        """End it; False if it had ended."""
        ended: bool = await self._run(self._cancel())
        return ended


def subscribe(
    handle: Handle, patterns: str | Iterable[str], signature: Any, debounce: float, when: Any
) -> Flow[tuple[Any, ...]]:
    """Register one, and return what the faces are made of."""
    wanted, asked = checked_patterns(patterns), checked_when(when)
    place = handle.terms, handle.workflow_id, handle.agent
    subscribe = partial(subscribing.subscribe, *place, wanted, signature, debounce, asked)
    subscription_id = yield from told(*place, subscribe)
    return handle, subscription_id, wanted, "ARMED", ""


def checked_local(handle: Handle, patterns: str | Iterable[str], debounce: float, when: Any) -> tuple[str, ...]:
    """Return the patterns for a function of this process; raises InvalidInput, InvalidName, AccessDenied."""
    wanted = checked_patterns(patterns)
    try:
        subscribing.check_access(handle.terms.policy, handle.agent, wanted)
    except AccessDenied as error:
        tell(handle.terms, handle.workflow_id, handle.agent, error)
        raise
    if debounce or when is not None:
        raise InvalidInput("debounce and when go with a signature: a function can see to them itself")
    return wanted


def of_kept(handle: Handle, found: tuple[KeptTrigger, KeptSubscription]) -> tuple[Any, ...]:
    """Return what the faces are made of."""
    kept, subscription = found
    return handle, kept.trigger_id, subscription.patterns, kept.state, kept.reason
