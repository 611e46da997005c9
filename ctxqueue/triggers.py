"""What a caller holds of a trigger, blocking and awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.flows import triggers
from ctxqueue.rules.conditions import as_condition, leaves_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ctxqueue.effects import Flow, KeptTrigger, TriggerState
    from ctxqueue.handles import Handle
    from ctxqueue.rules.conditions import Condition

    Run = Callable[[Flow[Any]], Any]
    AsyncRun = Callable[[Flow[Any]], Awaitable[Any]]


class _Trigger:
    """What both faces have in common: how it stood when it was looked at."""

    __slots__ = ("_handle", "condition", "id", "reason", "state")

    def __init__(self, handle: Handle, trigger_id: str, state: TriggerState, condition: Condition, reason: str) -> None:
        self._handle = handle
        self.id = trigger_id
        self.state = state
        """ARMED, FIRED, CANCELLED, EXPIRED (its time was up) or FAILED, with a ``reason``.

        Of one that fires each time also RUNNING, and for the operator RUNNING_DIRTY (something was written since).
        """
        self.condition = ", ".join(map(str, leaves_of(condition)))
        """The keys that it waits for."""
        self.reason = reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state}: {self.condition}>"

    def _cancel(self) -> Flow[bool]:
        return triggers.cancel(self._handle.workflow_id, self._handle.agent, self.id)

    def _fire(self) -> Flow[bool]:
        return triggers.fire(self._handle.terms, self._handle.workflow_id, self._handle.agent, self.id)


class Trigger(_Trigger):
    """A signature that is kept until its condition holds."""

    __slots__ = ("_run",)

    def __init__(self, run: Run, *given: Any) -> None:
        super().__init__(*given)
        self._run = run

    def cancel(self) -> bool:
        """Call it off; False if it had fired or ended."""
        called_off: bool = self._run(self._cancel())
        return called_off

    def fire(self) -> bool:
        """Send its signature now, whatever its condition; False if it had fired or ended, or its tasks run."""
        fired: bool = self._run(self._fire())
        return fired


class AsyncTrigger(_Trigger):
    """The same for event loops."""

    __slots__ = ("_run",)

    def __init__(self, run: AsyncRun, *given: Any) -> None:
        super().__init__(*given)
        self._run = run

    async def cancel(self) -> bool:
        """Call it off; False if it had fired or ended."""
        called_off: bool = await self._run(self._cancel())
        return called_off

    async def fire(self) -> bool:
        """Send its signature now, whatever its condition; False if it had fired or ended, or its tasks run."""
        fired: bool = await self._run(self._fire())
        return fired


class _When:
    def __init__(self, handle: Handle, condition: str | Condition) -> None:
        self._handle = handle
        self._condition = as_condition(condition)

    def _register(
        self, signature: Any, timeout: float | None, on_timeout: Any, *, every: bool, pass_cause: bool
    ) -> Flow[tuple[Any, ...]]:
        handle = self._handle
        trigger_id, state = yield from triggers.register(
            *(handle.terms, handle.workflow_id, handle.agent, self._condition, signature, timeout, on_timeout),
            every=every,
            pass_cause=pass_cause,
        )
        return handle, trigger_id, state, self._condition, ""


class When(_When):
    """A condition that is yet to be told what to send: ``wf.when(all_of("a", "b")).then(task.s())``."""

    def __init__(self, run: Run, handle: Handle, condition: str | Condition) -> None:
        super().__init__(handle, condition)
        self._run = run

    def then(
        self,
        signature: Any,
        *,
        timeout: float | None = None,
        on_timeout: Any = None,
        every: bool = False,
        pass_cause: bool = False,
    ) -> Trigger:
        """Send a signature, any canvas, once the condition holds: at once if it does already, and only once.

        With ``every`` each time that something the condition is about has changed and it holds; what changes while the
        tasks run brings one more run after their end. After ``timeout`` seconds ``on_timeout`` is sent in its place, if
        there is one, and it ends. Its tasks belong to this workflow; an agent's finds the cause in ``self.cause``,
        ``pass_cause`` hands it on as the first argument.

        Raises ConditionError, AccessDenied for a key that the agent may not read, WorkflowNotFound, WorkflowClosed,
        CapacityError, InvalidInput for what is no signature, ConfigurationError outside a Celery app.
        """
        flow = self._register(signature, timeout, on_timeout, every=every, pass_cause=pass_cause)
        return Trigger(self._run, *self._run(flow))


class AsyncWhen(_When):
    """The same for event loops."""

    def __init__(self, run: AsyncRun, handle: Handle, condition: str | Condition) -> None:
        super().__init__(handle, condition)
        self._run = run

    async def then(
        self,
        signature: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as the blocking one has it
        on_timeout: Any = None,
        every: bool = False,
        pass_cause: bool = False,
    ) -> AsyncTrigger:
        """Send a signature once the condition holds; as `When.then`."""
        flow = self._register(signature, timeout, on_timeout, every=every, pass_cause=pass_cause)
        return AsyncTrigger(self._run, *await self._run(flow))


def of_kept(handle: Handle, kept: KeptTrigger) -> tuple[Any, ...]:
    """Return what the faces are made of."""
    return handle, kept.trigger_id, kept.state, triggers.condition_of(kept), kept.reason
