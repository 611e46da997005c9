"""One BLAS thread while memories are ranked: two take many times as long for vectors of this size."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_made: list[Any] = []
_making = threading.Lock()


def one_thread() -> AbstractContextManager[Any]:
    """Limit numpy's BLAS inside the block, where threadpoolctl is installed; outside it stays as it was."""
    with _making:
        if not _made:
            import numpy as np  # noqa: F401, PLC0415 - the controller finds the libraries that are loaded

            try:
                from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - comes with the extra

                controller = ThreadpoolController().select(user_api="blas")
            except ImportError:
                controller = None
            _made.append(controller)
    controller = _made[0]
    limited: AbstractContextManager[Any] = controller.limit(limits=1) if controller else nullcontext()
    return limited
