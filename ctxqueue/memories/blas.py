"""One BLAS thread while memories are embedded and ranked: two take many times as long for vectors of this size."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Limit:
    """The limit is the process's: the first that asks for it sets it, the last that is done lifts it."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._inside = 0
        self._controller: Any = None
        self._limited: Any = None

    def enter(self) -> None:
        with self._counting:
            self._inside += 1
            if self._inside == 1 and (controller := self._found()):
                self._limited = controller.limit(limits=1)

    def leave(self) -> None:
        with self._counting:
            self._inside -= 1
            if not self._inside and self._limited is not None:
                self._limited.restore_original_limits()
                self._limited = None

    def _found(self) -> Any:
        if self._controller is None:
            import numpy as np  # noqa: F401, PLC0415 - the controller finds the libraries that are loaded

            try:
                from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - comes with the extra
            except ImportError:
                self._controller = False
            else:
                self._controller = ThreadpoolController().select(user_api="blas")
        return self._controller


_limit = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numpy's BLAS inside the block, where threadpoolctl is installed; outside it stays as it was."""
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
