"""Messages and their signatures: with ``ctxqueue_signing_keys`` unsigned or forged work is refused.

Signed is what says whose work it is: the task's name and id, the number of its retry, all our headers, and its body:
arguments, callbacks, chain and chord. Whatever goes to the broker is signed where it is published, what is retried
and parked tasks again; a worker signs nothing for a task whose own message is not signed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery.signals import task_prerun
from kombu.utils.json import dumps

from ctxqueue.errors import BadSignature
from ctxqueue.flows.auditing import forged
from ctxqueue.integration.installed import installed
from ctxqueue.settings import Settings
from ctxqueue.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Celery
    from celery.app.task import Context

logger = logging.getLogger(__name__)

SIGNATURE = "ctxqueue_signature"
OURS = "ctxqueue_"
LOCAL = frozenset({SIGNATURE, "ctxqueue_content_type"})
"""Of a request: no part of what is signed."""
NAMED = ("task", "id", "retries")
EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
MESSAGE = "message"

_signers: WeakKeyDictionary[Celery, tuple[Any, float, Signer]] = WeakKeyDictionary()


def signer_of(app: Celery) -> Signer | None:
    """Return what signs for an app; None: it has no keys. Raises ConfigurationError."""
    keys = app.conf.get("ctxqueue_signing_keys")
    if not keys:
        return None
    age = float(app.conf.get("ctxqueue_signature_age", Settings().signature_age))
    known = _signers.get(app)
    if known is None or known[0] is not keys or known[1] != age:
        known = _signers[app] = (keys, age, Signer(keys, age))
    return known[2]


def sign(app: Celery, headers: dict[str, Any], body: Any) -> None:
    """Sign a message on its way out, if the app has keys."""
    signer = signer_of(app)
    if signer is not None:
        args, kwargs, embedded = body
        headers[SIGNATURE] = signer.sign(MESSAGE, _content(headers, args, kwargs, embedded or {}))


def _content(headers: Mapping[str, Any], args: Any, kwargs: Any, embedded: Mapping[str, Any]) -> bytes:
    """Return what is signed of a message, the same on both its ends."""
    ours = {name: value for name, value in headers.items() if name.startswith(OURS) and name not in LOCAL}
    named = {name: 0 if headers.get(name) is None else headers[name] for name in NAMED}
    body = [list(args or ()), dict(kwargs or {}), {name: embedded.get(name) or None for name in EMBEDDED}]
    # By way of kombu's JSON, whatever serialiser carries it: tuples and lists, signatures and dicts are alike then.
    plain = json.loads(dumps([ours, named, body]))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()


class _Verdict:
    """What a request was found to be; on it under a name that no header can have, of a type that none can bring."""

    def __init__(self, error: BadSignature | None) -> None:
        self.error = error


def judged(app: Celery, request: Context) -> BadSignature | None:
    """Return why a received message is not to be carried out; None: it is signed, or need not be."""
    signer = signer_of(app)
    if signer is None or request.called_directly or request.is_eager:
        return None
    verdict = vars(request).get("_ctxqueue_verdict")
    if not isinstance(verdict, _Verdict):
        verdict = _Verdict(_error_of(signer, request))
        vars(request)["_ctxqueue_verdict"] = verdict
    return verdict.error


def _error_of(signer: Signer, request: Context) -> BadSignature | None:
    fields = vars(request)
    try:
        content = _content(fields, request.args, request.kwargs, fields)
        signer.verify(MESSAGE, content, fields.get(SIGNATURE))
    except BadSignature as error:
        return error
    except (TypeError, ValueError) as error:  # headers or a body of forms that no signed message has
        return BadSignature(f"a message cannot be what was signed: {type(error).__name__}")
    return None


def check(app: Celery, request: Context) -> None:
    """Raise BadSignature for a received message that is not to be carried out."""
    error = judged(app, request)
    if error is not None:
        logger.error("task %s [%s] is refused: %s", request.get("task"), request.id, error)
        queue = installed(app)
        if queue is not None:
            queue.manager.driver.run(forged(queue.manager.terms, error, str(request.get("task"))))
        raise error


def look(task: Any = None, **_signal: object) -> None:
    """Judge a message before its body runs: Celery takes its chain apart afterwards."""
    if task is not None:
        judged(task.app, task.request)


def connect_signal() -> None:
    """Begin to look; calling it again changes nothing."""
    task_prerun.connect(look, weak=False, dispatch_uid="ctxqueue.signatures")
