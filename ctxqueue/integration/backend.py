"""The store of an app that names none: the Redis that Celery keeps its results in, or its messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

SCHEMES: Final = {"redis://": "redis://", "rediss://": "rediss://", "redis+socket://": "unix://", "sentinel://": None}
"""Celery's, and ours for it; Sentinels are named alike, but for what Celery has in its transport options."""

TLS_FLAG: Final = re.compile(r"(ssl_cert_reqs=)CERT_(NONE|OPTIONAL|REQUIRED)\b")
"""Celery's own form of it; redis-py knows ``none``, ``optional`` and ``required``."""

OUR_SENTINELS: Final = "ctxqueue.integration.results:SentinelBackend+"
"""In front of a result backend's ``sentinel://`` URL: our class of it, in `results`."""


def celerys_url(conf: Any) -> str | None:
    """Return the URL of the app's result backend, else of its broker, as we write it; None if neither is a Redis."""
    places = (
        (conf.result_backend, conf.result_backend_transport_options, conf.redis_backend_use_ssl),
        (conf.broker_url, conf.broker_transport_options, conf.broker_use_ssl),
    )
    for given, options, tls in places:
        url = given.removeprefix(OUR_SENTINELS) if isinstance(given, str) else given
        if isinstance(url, str) and url.startswith(tuple(SCHEMES)):
            url = TLS_FLAG.sub(lambda flag: flag[1] + flag[2].lower(), url)
            scheme, _, rest = url.replace("virtual_host=", "db=").partition("://")
            ours = SCHEMES[f"{scheme}://"]
            if ours is None:
                return _of_sentinels(f"{scheme}://{rest}", options or {}, tls)
            if not tls or ours == "unix://":
                return f"{ours}{rest}"
            return _with(f"rediss://{rest}", _of_tls("", tls))
    return None


OF_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
CERT_REQS: Final = ("none", "optional", "required")


def _of_tls(prefix: str, options: Any) -> dict[str, Any]:
    """Return what Celery's settings say of TLS, as a URL does; they may be no more than True."""
    if not isinstance(options, Mapping):
        return {}
    given = {name: options.get(name) for name in OF_TLS}
    verify = options.get("ssl_cert_reqs")
    given["ssl_cert_reqs"] = (
        CERT_REQS[verify] if isinstance(verify, int) else verify and verify.removeprefix("CERT_").lower()
    )
    return {f"{prefix}{name}": str(value) for name, value in given.items() if value is not None}


def _of_sentinels(url: str, options: Mapping[str, Any], tls: Any) -> str:
    """Return the URL with what its form at Celery has elsewhere: the master's name, the Sentinels' own login, TLS."""
    login = options.get("sentinel_kwargs") or {}
    found = {
        "master_name": options.get("master_name"),
        "min_other_sentinels": options.get("min_other_sentinels"),
        "sentinel_username": login.get("username"),
        "sentinel_password": login.get("password"),
    }
    if tls:
        found |= {"ssl": "true", **_of_tls("", tls)}
    if login.get("ssl"):
        found |= {"sentinel_ssl": "true", **_of_tls("sentinel_", login)}
    return _with(url, found)


def _with(url: str, options: Mapping[str, Any]) -> str:
    """Return a URL with options that it does not set itself."""
    set_already = {name for name, _ in parse_qsl(url.replace(";", "&").replace("?", "&"))}
    query = urlencode({name: value for name, value in options.items() if value and name not in set_already})
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url
