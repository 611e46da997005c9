"""What a message carries: the workflow, and the run it belongs to.

``before_task_publish`` sees every message that this process publishes: direct ones, the next one of a chain, members
and body of a chord, retries. A header that is there already stays, so that retries and resumed tasks keep their run.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from celery import current_task
from celery.signals import before_task_publish

from ctxqueue import binding
from ctxqueue.identity import current_attempt, current_workflow, derived_run_id, new_run_id
from ctxqueue.integration import signatures

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from celery.app.task import Context

WORKFLOW, NAMESPACE = binding.WORKFLOW, binding.NAMESPACE
RUN = "ctxqueue_run"
LEG = "ctxqueue_leg"
CAUSE = "ctxqueue_cause"
"""Of what a trigger sent: which one, and what it had waited for."""
DEPTH = "ctxqueue_depth"
"""How many triggers in a row have led to it."""
AFTER = "ctxqueue_after"
"""Of a retry: its number, and the attempt that published it. Without it one that had been taken over could go on."""
SHOWN = "ctxqueue_shown"
"""The publisher chose what is shown of the arguments. Without it the text may be Celery's own, which is all of them."""

HIDDEN_ARGS, HIDDEN_KWARGS = "(...)", "{...}"

RELEASED = "ctxqueue_released"
"""How often the operator let the run go on without what it waited for: so many waits that lack something end."""

CONTENT_TYPE = "ctxqueue_content_type"
"""Not of a message: what a worker says to its process of the message's serialiser, which Celery keeps to itself."""

OUR_TASKS = "ctxqueue."
REFUSED_TYPES = frozenset({"application/x-python-serialize", "application/data", "text/plain", ""})
"""Content types that are refused for our own tasks: pickle, which can bring code, and what is no message at all."""

of_triggers: list[Callable[[dict[str, Any]], None]] = []
"""What adds to the headers of a trigger's message when it is armed."""

causing: ContextVar[dict[str, Any] | None] = ContextVar("ctxqueue_causing", default=None)
"""CAUSE and DEPTH of what is being published by a trigger."""
_apps: WeakSet[Celery] = WeakSet()
"""Those that ctxqueue is installed in."""


class Carried(NamedTuple):
    """What a received message says of its workflow and run."""

    workflow_id: str
    """Empty: it was published outside any workflow."""
    namespace: str
    run_id: str
    leg: int
    after_epoch: int
    """Of the attempt whose retry it is; 0 if it is none."""
    released: int = 0


def carried_by(request: Context) -> Carried:
    """Read a received message; a foreign producer's, without our headers, is known by its task id."""
    return Carried(
        request.get(WORKFLOW) or "",
        request.get(NAMESPACE) or "",
        request.get(RUN) or str(request.id),
        request.get(LEG) or 0,
        _after(request),
        request.get(RELEASED) or 0,
    )


def _after(request: Context) -> int:
    # A retry's own header: of one that Celery publishes by itself it may be what an earlier retry has left there.
    number, _, epoch = str(request.get(AFTER) or "").partition(".")
    return int(epoch) if number and number == str(request.retries or 0) else 0


def carry(sender: str = "", body: Any = None, headers: dict[str, Any] | None = None, **_signal: object) -> None:
    """Add our headers to a message on its way out."""
    if headers is None:
        return
    request = current_task.request if current_task else None
    reference = current_workflow.get()
    if reference is not None:
        headers.setdefault(WORKFLOW, reference.workflow_id)
        headers.setdefault(NAMESPACE, reference.namespace)
    elif request is not None and request.get(WORKFLOW):
        headers.setdefault(WORKFLOW, request.get(WORKFLOW))
        headers.setdefault(NAMESPACE, request.get(NAMESPACE))
    caused = causing.get()
    if caused is None and request is not None and request.get(DEPTH):
        caused = {CAUSE: request.get(CAUSE), DEPTH: request.get(DEPTH)}
    for name, value in (caused or {}).items():
        headers.setdefault(name, value)
    task_id, retries, attempt = headers.get("id"), headers.get("retries") or 0, current_attempt.get()
    if attempt is not None and retries > attempt.retries and (headers.get(RUN) or task_id) == attempt.run_id:
        headers[AFTER] = f"{retries}.{attempt.epoch}"
    elif task_id is not None and (WORKFLOW in headers or sender.startswith(OUR_TASKS) or is_claimed(sender)):
        parent = _parent(request, task_id) if request is not None else None
        # A worker that died after its task had ended sends the next one of the chain again: it must be the same run.
        headers.setdefault(RUN, derived_run_id(parent, task_id) if parent else new_run_id())
    headers.pop(signatures.SIGNATURE, None)
    app = _app_of(sender)
    if app is not None and task_id is not None and (request is None or signatures.judged(app, request) is None):
        signatures.sign(app, headers, body)


def _app_of(name: str) -> Celery | None:
    """Return the app with keys whose message this is: one that knows the task, any where none of ours does."""
    knowing = [app for app in _apps if app.finalized and name in app.tasks]  # type: ignore[attr-defined]
    return next((app for app in knowing or _apps if app.conf.get("ctxqueue_signing_keys")), None)


def is_claimed(name: str) -> bool:
    """Whether each message of a task is a run: an agent's, or a plain one under ``@ctxqueue.claimed``.

    Without a run of its own a message would be known by its task id, and a second one of that id by the first's result.
    """
    for app in _apps:
        task = app.tasks.get(name) if app.finalized else None  # type: ignore[attr-defined]  # celery-types leaves it out
        if task is not None and any(getattr(each, "ctxqueue_claimed", False) for each in (task, task.run)):
            return True
    return False


def _parent(request: Context, task_id: str) -> str | None:
    """Return what the run of a message is derived from: the run that publishes it.

    For the body of a chord it is the group of its members: after a crash another one of them may send it again.
    """
    body: Any = request.chord
    if body and request.group and body["options"].get("task_id") == task_id:
        return str(request.group)
    run: str | None = request.get(RUN)
    return run


def connect_signal(app: Celery) -> None:
    """Start carrying; calling it again changes nothing."""
    _apps.add(app)
    signatures.connect_signal()
    before_task_publish.connect(carry, weak=False, dispatch_uid="ctxqueue.carry")
