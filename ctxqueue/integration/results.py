"""Celery's result backend behind Sentinels, with connections that ask who the master is for every try.

redis-py (8.1) asks when a connection is made, but where a call is tried again on one that broke it goes back to the
address it had: a worker that stores a result at the moment when a master is stopped waits for that one to wake, up to
ten time-outs long, and then writes where nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends import redis as celerys

from ctxqueue.stores.redis.sentinel import MasterConnection

if TYPE_CHECKING:
    Base = Any
else:
    Base = celerys.SentinelBackend


class SentinelBackend(Base):  # type: ignore[misc]  # celery-types leaves it out
    """``result_backend = "ctxqueue.integration.results:SentinelBackend+sentinel://host:26379/0;..."``; not for TLS."""

    def _get_pool(self, **params: Any) -> Any:
        params.setdefault("connection_class", MasterConnection)
        return super()._get_pool(**params)
