"""Publishing that the store vouches for: the message is stored first, and sent again until a worker has taken it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery.utils.time import maybe_make_aware
from kombu.exceptions import OperationalError

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import Position, Promise
from ctxqueue.errors import ConfigurationError
from ctxqueue.flows.publishing import item_id
from ctxqueue.integration.headers import LEG, RUN, WORKFLOW
from ctxqueue.integration.messages import as_published

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.integration.install import ContextQueue

logger = logging.getLogger(__name__)


class Promising:
    """A producer that has the store keep a task's message before it hands it to the broker.

    A broker that is away is then no error: the sweep sends the message.
    """

    def __init__(self, queue: ContextQueue, producer: Any) -> None:
        self._queue = queue
        self._producer = producer
        self._promised = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as the producer does; raises StoreUnavailable, and then has published nothing."""
        if not self._promised:
            self._promise(body, options)
            self._promised = True
        try:
            return self._producer.publish(body, **options)
        except (OperationalError, OSError) as error:
            task = (options.get("headers") or {}).get("id")
            logger.warning("task %s is stored and will be sent once the broker is back: %s", task, error)
            return None

    def _promise(self, body: Any, options: dict[str, Any]) -> None:
        headers = options["headers"]
        if "id" not in headers:
            raise ConfigurationError("durable=True needs task_protocol = 2")
        terms = self._queue.manager.terms
        run, workflow = headers.get(RUN) or headers["id"], headers.get(WORKFLOW) or ""
        position = Position(headers.get("retries") or 0, headers.get(LEG) or 0)
        app, eta, expires = self._queue.app, headers.get("eta"), headers.get("expires")
        delay = 0.0 if eta is None else seconds_until(app, eta)
        keep = terms.settings.horizon + delay
        if expires is not None:
            keep = min(keep, seconds_until(app, expires))
        promise = Promise(
            workflow,
            run,
            item_id(terms.app, workflow, run, position),
            as_published(app, body, options),
            wait_us=terms.lease_us + int(delay * MICROSECONDS),
            keep_us=max(1, int(keep * MICROSECONDS)),
        )
        # Not by the driver: whoever publishes in an event loop blocks it anyway.
        self._queue.manager.store.perform(promise)


def seconds_until(app: Celery, moment: datetime | str) -> float:
    """Return how far off an instant is, as a message's headers have it; 0 if it has passed."""
    at = maybe_make_aware(datetime.fromisoformat(moment) if isinstance(moment, str) else moment, app.timezone)
    return max(0.0, (at - app.now()).total_seconds())
