"""One message of a task in a worker's hands, from its claim to its end; for agents' tasks and others'."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from celery.exceptions import Ignore, Reject, Retry

from ctxqueue import codec
from ctxqueue.effects import Position
from ctxqueue.errors import AttemptSuperseded, CtxqueueError, NotSerializable, RunAbandoned, StoreUnavailable
from ctxqueue.flows import attempts
from ctxqueue.integration import cancelling
from ctxqueue.integration.chords import body_is_being_sent
from ctxqueue.settings import MAX_SAVED_RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Task

    from ctxqueue.effects import Claimed, Flow
    from ctxqueue.identity import Attempt
    from ctxqueue.integration.headers import Carried
    from ctxqueue.integration.install import ContextQueue

logger = logging.getLogger(__name__)

GIVE_BACK_SECONDS = 1.0
ASK_AGAIN_SECONDS = 30.0
_store_away_until = 0.0
IGNORED = b"\xc1"
"""The outcome of a body that ended with Ignore, as `self.replace()` does too. No value is packed so."""


class Parked(BaseException):
    """The store has taken the running message over: whatever a body does about errors, it ends here."""


class Delivery:
    """What the store is asked and told about it."""

    def __init__(self, queue: ContextQueue, task: Task[..., Any]) -> None:
        self._manager = queue.manager
        self._task = task

    def not_ours(self, claimed: Claimed, carried: Carried) -> Any:
        """Answer a message whose run has ended, waits, is in another attempt's hands, or was cancelled."""
        if claimed.answer in ("done", "failed") and self._task.acks_late and body_is_being_sent(self._task):
            # By this very run's first attempt, perhaps, which died over it: come again when Celery lets others try.
            time.sleep(GIVE_BACK_SECONDS)
            raise Reject("the body of its chord is being sent", requeue=True)
        if claimed.answer == "done" and claimed.outcome == IGNORED:
            raise Ignore
        if claimed.answer == "done":
            return codec.unpack(claimed.outcome)
        if claimed.answer == "failed":
            error = self._task.backend.exception_to_python(codec.unpack(claimed.outcome))
            raise error
        if claimed.answer == "cancelled":
            cancelling.revoked(self._task)
        logger.info("run %s of %s: %s, nothing to do for this message", carried.run_id, self._task.name, claimed.answer)
        raise Ignore

    def given_up(self, claimed: Claimed, attempt: Attempt) -> RunAbandoned | None:
        """Return why the body is not begun again, if it was lost too often: it may be what kills its process."""
        if claimed.lost <= self._manager.terms.settings.max_lost_attempts:
            return None
        return RunAbandoned(
            f"task {self._task.name}: {claimed.lost} attempts at run {attempt.run_id} were lost, as where a body kills"
            " its process or takes all memory: it is not begun again; see the workers' logs, and publish it anew once"
            " that is mended, or raise ctxqueue_max_lost_attempts"
        )

    def finished(self, attempt: Attempt, body: Callable[[], Any], late: Exception | None = None) -> Any:
        """Carry out the body, or raise what comes too late for it, commit what it has staged, and record how it ended.

        All before Celery does.
        """
        try:
            result = body() if late is None else _raised(late)
            for transaction in attempt.staged:
                self._manager.driver.run(transaction.commit())
        except Parked:
            raise Ignore from None
        except Retry:
            if not self._end(attempt, "retried", b""):
                # Its successor has taken over already, or another attempt had before: what they come to must not be
                # followed by RETRY.
                self.refused(attempt)
                raise Ignore from None
            raise
        except AttemptSuperseded as error:
            logger.warning("run %s of %s: %s", attempt.run_id, self._task.name, error)
            self.refused(attempt)
            raise Ignore from error
        except (Ignore, Reject) as end:
            # What is rejected may come again, to be carried out.
            self._finish(attempt, "done", IGNORED if isinstance(end, Ignore) else b"")
            raise
        except Exception as error:
            self._finish(attempt, "failed", _kept(self._task.backend.prepare_exception(error, serializer="json")))
            raise
        self._finish(attempt, "done", _kept(result))
        return result

    def _finish(self, attempt: Attempt, state: Any, outcome: bytes) -> None:
        if not self._end(attempt, state, outcome):
            if not self.refused(attempt):
                logger.warning(
                    "run %s of %s: attempt %d was taken over", attempt.run_id, self._task.name, attempt.epoch
                )
            raise Ignore

    def refused(self, attempt: Attempt) -> bool:
        """Look why an attempt may do no more; if its task was cancelled, say so to all that depend on it."""
        flow = attempts.is_cancelled(self._manager.terms, attempt, str(self._task.request.id))
        with self.given_back_without_a_store():
            cancelled = self._manager.driver.run(flow)
        if cancelled:
            cancelling.revoked(self._task)
        return cancelled

    def _end(self, attempt: Attempt, state: Any, outcome: bytes) -> bool:
        with self.given_back_without_a_store():
            return self._manager.driver.run(attempts.finish(self._manager.terms, attempt, state, outcome))

    @contextmanager
    def given_back_without_a_store(self) -> Iterator[None]:
        """Give the message back to the broker if the store is away: what it asks for is not done, nor refused.

        Without ``acks_late`` the broker does not have it any more, and the task fails with StoreUnavailable.
        """
        try:
            yield
        except StoreUnavailable as error:
            if not self._task.acks_late:
                raise
            logger.warning("task %s [%s] goes back to the queue: %s", self._task.name, self._task.request.id, error)
            time.sleep(GIVE_BACK_SECONDS)  # else it would come again at once, and again
            raise Reject(error, requeue=True) from error


def _raised(error: Exception) -> NoReturn:
    raise error


def ended_from_outside(queue: ContextQueue, task: Task[..., Any], carried: Carried, retries: int, error: Any) -> None:
    """Record the end of a run whose process was ended, as by a hard time limit: no other attempt is to make up for it.

    Called where messages are received. A store that is away leaves the run to its lease.
    """
    outcome = _kept(task.backend.prepare_exception(error, serializer="json"))
    position = Position(retries, carried.leg)
    _recorded(queue, task, attempts.end(queue.manager.terms, carried.workflow_id, carried.run_id, position, outcome))


def given_back(queue: ContextQueue, task: Task[..., Any], carried: Carried, retries: int) -> None:
    """Let the run go whose process is ended as its worker is: its message comes again at once, and is to be done then.

    Called where messages are received. A store that is away leaves the run to its lease.
    """
    position = Position(retries, carried.leg)
    _recorded(queue, task, attempts.give_up(queue.manager.terms, carried.workflow_id, carried.run_id, position))


def _recorded(queue: ContextQueue, task: Task[..., Any], flow: Flow[bool]) -> None:
    global _store_away_until  # noqa: PLW0603 - one worker a process
    if time.monotonic() < _store_away_until:  # else a worker with many processes would end late
        return
    try:
        queue.manager.driver.run(flow)
    except CtxqueueError as problem:
        _store_away_until = time.monotonic() + ASK_AGAIN_SECONDS
        logger.warning("the end of an attempt at %s is not recorded: %s", task.name, problem)


def _kept(outcome: Any) -> bytes:
    """Return a result or an error to repeat on a redelivery; nothing if it is too large or of a foreign type.

    Then a redelivery runs the body again, with its calls replayed.
    """
    try:
        packed = codec.pack(outcome)
    except NotSerializable:
        return b""
    except Exception:  # a to_dict() of the user's may raise anything; Celery may know another way to keep it
        logger.exception("a result could not be packed: a message that comes again runs the body again")
        return b""
    return packed if len(packed) <= MAX_SAVED_RESULT else b""
