"""Which app has ctxqueue in it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.integration.install import ContextQueue

queues: WeakKeyDictionary[Celery, ContextQueue] = WeakKeyDictionary()
installing = threading.Lock()


def installed(app: Celery) -> ContextQueue | None:
    """Return what `install` put into an app; None if it did not."""
    with installing:
        return queues.get(app)
