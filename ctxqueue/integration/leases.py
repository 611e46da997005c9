"""Attempts under way in this process, and the thread that keeps their leases from ending."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctxqueue.effects import Renew
from ctxqueue.errors import CtxqueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager
    from ctxqueue.identity import Attempt

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3


class LeaseKeeper:
    """Renews the leases of one process's attempts, three times a lease; its thread runs only while there are any."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[int, tuple[SharedContextManager, Attempt]] = {}
        self._running = False
        self._pause = 0.0
        self._shorter = threading.Event()

    @contextmanager
    def keeping(self, manager: SharedContextManager, attempt: Attempt) -> Iterator[None]:
        """Keep one attempt's lease while the body runs."""
        with self._lock:
            if not self._running:
                threading.Thread(target=self._renew_all, name="ctxqueue-leases", daemon=True).start()
                self._running = True
            elif _pause_for(manager) < self._pause:  # of another app of this process
                self._shorter.set()
            self._attempts[id(attempt)] = (manager, attempt)
        try:
            yield
        finally:
            with self._lock:
                del self._attempts[id(attempt)]

    def _renew_all(self) -> None:
        while True:
            with self._lock:
                attempts = list(self._attempts.values())
                if not attempts:
                    self._running = False
                    return
                self._pause = min(_pause_for(manager) for manager, _ in attempts)
                self._shorter.clear()
            for manager, attempt in attempts:
                self._renew(manager, attempt)
            self._shorter.wait(self._pause)

    def _renew(self, manager: SharedContextManager, attempt: Attempt) -> None:
        effect = Renew(attempt.home, attempt.run_id, attempt.epoch, manager.terms.lease_us)
        try:
            manager.store.perform(effect)
        except CtxqueueError as error:
            # The commit of a superseded attempt is refused anyway; the body goes on until then.
            logger.warning("run %s: its lease could not be renewed: %s", attempt.run_id, error)
        except Exception:  # whatever it is: the leases of all other attempts hang on this thread
            logger.exception("run %s: its lease could not be renewed", attempt.run_id)


def _pause_for(manager: SharedContextManager) -> float:
    return manager.terms.settings.lease / RENEWALS_A_LEASE


keeper = LeaseKeeper()
