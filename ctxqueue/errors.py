"""Every error ctxqueue raises on purpose.

::

    CtxqueueError
    ├── InvalidInput (ValueError)        the caller's argument is wrong; nothing was written
    │   ├── InvalidName  InvalidDuration  UnknownScope  UnknownPriority  UnknownStrategy
    │   └── NotSerializable  ValueTooLarge  CommitTooLarge  MixedWorkflows  ConditionError  WriteRefused
    ├── StateError                       the store's state does not allow it
    │   ├── WorkflowNotFound  WorkflowExists  WorkflowClosed
    │   ├── EntryNotFound (KeyError)  EntryExists  VersionConflict
    │   ├── CapacityError  QuotaExceeded  CircularDependencyError
    │   ├── InboxFull  UpdateAbandoned  UpdatePending (TimeoutError)  RunAbandoned
    │   └── DependencyTimeout (TimeoutError)  DependencyNotReady
    ├── CallError                        the call's identity does not allow it
    │   └── StaleOperation  OperationDiverged  AttemptSuperseded
    ├── ReadError
    │   └── RevisionTrimmed  HistoryDiverged  RecordTooNew  RecordDamaged
    ├── AccessError
    │   ├── AccessDenied  IdentityMismatch  BadSignature
    │   └── DecryptionError  ContentRefused
    ├── MemoryFailure                    what embeds memories; nothing was stored
    │   └── EmbedderError  DimensionMismatch  ModelMismatch
    ├── StoreError                       the server
    │   └── StoreUnavailable  StoreAuthError  StoreReadOnly  UnsafeServer  SchemaTooOld  SchemaTooNew
    └── UsageError
        └── ConfigurationError  SyncInAsyncError  GuardFailed

A message says what happened, to which workflow, key and version, and what to do next. Each error can be
rebuilt from its ``args`` alone, as Celery's JSON result backends do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctxqueue.models import Address, ContextEntry


class CtxqueueError(Exception):
    """Root of all of them."""

    def __str__(self) -> str:
        # KeyError would print the repr of its message.
        return str(self.args[0]) if self.args else type(self).__name__


def forget_hidden(error: BaseException) -> None:
    """Let go of what errors were raised ``from None`` over, and of what hides behind their causes.

    A traceback does not print it, but an error's context is there for whatever looks: it may quote a value.
    """
    for _ in range(MOST_CAUSES):
        cause = error.__cause__
        if error.__suppress_context__:
            error.__context__ = cause
        following = cause or error.__context__
        if following is None:
            return
        error = following


MOST_CAUSES = 100


class InvalidInput(CtxqueueError, ValueError):
    """An argument is wrong; nothing was written."""


class InvalidName(InvalidInput):
    """A key, workflow id, agent id or group is empty, too long, or has control characters."""


class InvalidDuration(InvalidInput):
    """A duration is not a positive, finite number of seconds or timedelta."""


class UnknownScope(InvalidInput):
    """No such scope."""


class UnknownPriority(InvalidInput):
    """No such priority."""


class UnknownStrategy(InvalidInput):
    """No such merge strategy."""


class NotSerializable(InvalidInput):
    """The codec has no form for this value; the message names the path to the part at fault."""


class ValueTooLarge(InvalidInput):
    """One packed value is over ``max_value`` bytes."""


class CommitTooLarge(InvalidInput):
    """One commit has over 200 keys or 1 MB."""


class MixedWorkflows(InvalidInput):
    """One update addresses the global context together with other scopes."""


class ConditionError(InvalidInput):
    """A condition on keys is malformed."""


class WriteRefused(InvalidInput):
    """A write guard does not let it stand there; ``guard`` names it, until the error has travelled."""

    def __init__(self, message: str, guard: str = "") -> None:
        super().__init__(message)
        self.guard = guard


class StateError(CtxqueueError):
    """The store's state does not allow the call."""


class WorkflowNotFound(StateError):
    """The workflow was never opened, or its life has ended."""


class WorkflowExists(StateError):
    """The workflow is there already."""


class WorkflowClosed(StateError):
    """The workflow was closed."""


class EntryNotFound(StateError, KeyError):
    """No such entry that the reader may see."""


class EntryExists(StateError):
    """``create`` met an entry."""


class VersionConflict(StateError):
    """The address is not at ``expected_version``.

    ``current`` is the entry that stands there, if the caller may read it, else None; also None after the
    error has travelled through a result backend.
    """

    def __init__(self, message: str, current: ContextEntry | None = None) -> None:
        super().__init__(message)
        self.current = current


class CapacityError(StateError):
    """A bound of the workflow or of a run's journal is reached."""


class QuotaExceeded(StateError):
    """The agent would hold more entries or bytes in the workflow than it may; nothing was written."""


class CircularDependencyError(StateError):
    """Entries would depend on each other in a circle; the message names the path."""


class InboxFull(StateError):
    """As many updates wait in the workflow's inbox as it holds; nothing was stored.

    ``retry_after`` says in how many seconds to try again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RunAbandoned(StateError):
    """Worker after worker has died, or stood still, over this task: it is not begun again."""


class UpdateAbandoned(StateError):
    """A stored update was tried several times without an outcome and is a dead letter now; it can be replayed."""


class UpdatePending(StateError, TimeoutError):
    """A stored update has no outcome yet."""


class DependencyTimeout(StateError, TimeoutError):
    """What a task needs did not come in time; the message names what was missing."""


class DependencyNotReady(StateError):
    """What a task needs is not there, where the task cannot be parked (Celery's eager mode)."""


class CallError(CtxqueueError):
    """The identity of the call does not allow it."""


class StaleOperation(CallError):
    """A later call of the same caller was already answered, or the call is older than the horizon."""


class OperationDiverged(CallError):
    """The call was made before with another input (only with ``on_divergence="error"``)."""


class AttemptSuperseded(CallError):
    """Another attempt at the same run has taken over; this one may not commit any more."""


class ReadError(CtxqueueError):
    """What was read cannot be used."""


class RevisionTrimmed(ReadError):
    """The log, or the history of a value, does not reach back so far; the message says how far it does."""


class HistoryDiverged(ReadError):
    """What was read before is not part of this workflow's history: it was made anew, or its server lost commits."""


class RecordTooNew(ReadError):
    """A newer version of ctxqueue wrote the record; it is left as it is."""


class RecordDamaged(ReadError):
    """What is stored is not what any version of ctxqueue writes: a fault of the server, or somebody's own doing."""


class AccessError(CtxqueueError):
    """The agent may not."""


class AccessDenied(AccessError):
    """A rule denies it."""

    denied: tuple[str, Address, str] | None = None
    """What was: read, write or delete; where; and by which rule. None: no one entry; also once it has travelled."""


class IdentityMismatch(AccessError):
    """A task named another agent than the one it was declared for."""


class BadSignature(AccessError):
    """A message's headers are not signed, by an unknown key, too old, or were changed: it is not carried out."""


class DecryptionError(AccessError):
    """A value cannot be decrypted, or is in clear where it must be encrypted; the message never shows it."""


class ContentRefused(AccessError):
    """A message or record is of a content type that is not accepted: one that could run code, above all."""


class MemoryFailure(CtxqueueError):
    """What embeds memories does not serve; nothing was stored."""


class EmbedderError(MemoryFailure):
    """The embedder failed, or what it returned are no vectors: too few, too many, or not finite."""


class DimensionMismatch(MemoryFailure):
    """A vector has another dimension than its embedder says."""


class ModelMismatch(MemoryFailure):
    """Memories that are searched have vectors of another model than the query's: ``reembed`` moves them."""


class StoreError(CtxqueueError):
    """The server."""


class StoreUnavailable(StoreError):
    """The server cannot be reached, or does not answer as a store of ours.

    ``answered`` says that it did answer, with an error: trying again later will not mend that by itself.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class StoreAuthError(StoreError):
    """The server refuses the credentials."""


class StoreReadOnly(StoreError):
    """The server takes no writes: a replica, or out of memory."""


class UnsafeServer(StoreError):
    """The server is set up so that a guarantee would break."""


class SchemaTooOld(StoreError):
    """The tables in the database are of an earlier version: ``celery -A proj ctx migrate`` brings them up to date."""


class SchemaTooNew(StoreError):
    """A newer version of ctxqueue has changed the tables; they are left as they are."""


class UsageError(CtxqueueError):
    """The program is wrong, not its data."""


class ConfigurationError(UsageError):
    """A setting, URL or installed package is missing or wrong; the message says what to change."""


class SyncInAsyncError(UsageError):
    """A blocking call was made inside a running event loop."""


class GuardFailed(UsageError):
    """A write guard raised something else than WriteRefused; nothing was written, and what waits in the store stays."""
