"""Questions to a store that may not answer, put so that nobody waits for it longer than they mean to."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaiting
from typing import TYPE_CHECKING, Generic, TypeVar

from ctxqueue.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Inquiry(Generic[T]):
    """One question, asked by a thread of its own: a call tries a server that stands still for half a minute.

    Who asks while an answer is awaited waits for that one, so there is one such thread however often it is asked.
    """

    def __init__(self, question: Callable[[], T], patience: float) -> None:
        self._question = question
        self._patience = patience
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def answer(self) -> T:
        """Return the answer; raises what the question raises, StoreUnavailable after ``patience`` seconds."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._ask, args=(self._asked,), name="ctxqueue-inquiry", daemon=True).start()
            asked = self._asked
        try:
            return asked.result(self._patience)
        except StillWaiting:
            if asked.done():
                raise  # by the question itself
            raise StoreUnavailable(f"the store has not answered within {self._patience:g} s") from None

    def _ask(self, asked: Future[T]) -> None:
        try:
            asked.set_result(self._question())
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            asked.set_exception(error)
