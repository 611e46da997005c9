"""Every event that an app's workers and producers send, as it comes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery


@contextmanager
def every_event(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """Yield a list that grows; what is sent from then on is in it."""
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        listener = threading.Thread(target=receiver.capture)
        listener.start()
        with app.events.default_dispatcher() as dispatcher:
            wait_until(lambda: dispatcher.send("probe") or seen, "events arrive")
        yield seen
        receiver.should_stop = True
        listener.join(SECONDS)
