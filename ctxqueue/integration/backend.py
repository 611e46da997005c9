"""The store of an app that names none: the Redis that Celery keeps its results in, or its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES: Final = {"redis://": "redis://", "rediss://": "rediss://", "redis+socket://": "unix://", "sentinel://": None}
"""Celery's, and ours for it; Sentinels are named alike, but for what Celery has in its transport options."""

OUR_SENTINELS: Final = "ctxqueue.integration.results:SentinelBackend+"
"""In front of a result backend's ``sentinel://`` URL: our class of it, in `results`."""


def celerys_url(conf: Any) -> str | None:
    """Return the URL of the app's result backend, else of its broker, as we write it; None if neither is a Redis."""
    places = (
        (conf.result_backend, conf.result_backend_transport_options),
        (conf.broker_url, conf.broker_transport_options),
    )
    for given, options in places:
        url = given.removeprefix(OUR_SENTINELS) if isinstance(given, str) else given
        if isinstance(url, str) and url.startswith(tuple(SCHEMES)):
            scheme, _, rest = url.replace("virtual_host=", "db=").partition("://")
            ours = SCHEMES[f"{scheme}://"]
            return f"{ours}{rest}" if ours else _of_sentinels(f"{scheme}://{rest}", options or {})
    return None


def _of_sentinels(url: str, options: Mapping[str, Any]) -> str:
    """Return the URL with what its form at Celery has elsewhere: the master's name, and the Sentinels' own login."""
    login = options.get("sentinel_kwargs") or {}
    found = {
        "master_name": options.get("master_name"),
        "min_other_sentinels": options.get("min_other_sentinels"),
        "sentinel_username": login.get("username"),
        "sentinel_password": login.get("password"),
    }
    query = urlencode({name: value for name, value in found.items() if value and f"{name}=" not in url})
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url
