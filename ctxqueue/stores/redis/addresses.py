"""What the URLs of a Cluster and of Sentinels say; redis-py knows neither form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.connection import parse_url

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

REDIS_PORT: Final = 6_379
SENTINEL_PORT: Final = 26_379
CLUSTER: Final = "redis+cluster://node-1:6379,node-2:6379"
SENTINELS: Final = "sentinel://host-1:26379;sentinel://host-2:26379?master_name=mymaster"
OPTIONS: Final = frozenset(
    {
        *("username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "socket_keepalive"),
        "health_check_interval",
    }
)
"""Of a connection, as redis-py names them: what a query may set. Others could change what a reply looks like."""
OF_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
"""Those that both of redis-py's cluster clients take."""
OF_SENTINELS: Final = frozenset({"master_name", "min_other_sentinels", "ssl"})
THEIR_OWN: Final = "sentinel_"
"""In front of an option of the connections to the Sentinels themselves."""
OWN_OPTIONS: Final = OF_TLS | {"username", "password", "ssl"}
QUOTED: Final = "is it one, its password quoted (%2F for /, %23 for #, %3F for ?, %40 for @)?"
AUTHORITY_ENDS: Final = re.compile("[/?#]")


@dataclass(frozen=True)
class ClusterAddress:
    """Some nodes of a cluster, and how to connect to each."""

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    tls: bool

    def __str__(self) -> str:
        """Return the nodes without user and password."""
        return ",".join(_spell(node) for node in self.nodes)


@dataclass(frozen=True)
class SentinelAddress:
    """Sentinels, whom to ask them for, and how to connect to that master."""

    sentinels: tuple[tuple[str, int], ...]
    master_name: str
    min_other_sentinels: int
    sentinel_options: dict[str, Any]
    db: int
    options: dict[str, Any]
    tls: bool
    """To the master."""

    def __str__(self) -> str:
        """Return master and Sentinels without user and password."""
        return f"{self.master_name} of {';'.join(_spell(each) for each in self.sentinels)}"


def check_login(rest: str) -> None:
    """Refuse a URL, of which this is what follows ``://``, that a password with a bare ``/ # ?`` cuts in two.

    Its pieces would be taken for host, port and path, and shown wherever those are. Raises ConfigurationError.
    """
    authority = AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    if authority and "@" not in authority and "@" in rest[len(authority) :].partition("=")[0]:
        raise ConfigurationError(f"the URL is not usable: {QUOTED}")


def check_database(rest: str) -> None:
    """Refuse a URL whose path is no number: redis-py takes database 0 for it, and so what other apps have there.

    It is not shown: a part of a password may stand there. Raises ConfigurationError.
    """
    path = rest.partition("?")[0].partition("/")[2].rstrip("/")
    if path and not (path.isascii() and path.isdigit()):
        raise ConfigurationError("a database is a number: redis://host:6379/1")


def unusable(error: ValueError) -> ConfigurationError:
    """Return what to raise, ``from None``, for what redis-py or urllib say of a URL: that may quote of a password."""
    told = str(error) if str(error).startswith("Invalid value for ") else QUOTED
    return ConfigurationError(f"the URL is not usable: {told}")


def cluster_address(url: str) -> ClusterAddress:
    """Return what a ``redis+cluster://`` or ``rediss+cluster://`` URL names; raises ConfigurationError."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    check_login(rest)
    authority, slash, path = place.partition("/")  # urlsplit takes brackets in it for those of one IPv6 address
    login, _, nodes = authority.rpartition("@")
    options = _options(login, slash + path, query, CLUSTER)
    if options.pop("db", 0):
        raise ConfigurationError(f"a Redis Cluster has only database 0: name it as {CLUSTER}")
    tls = scheme == "rediss+cluster"
    _refuse_others(options, OPTIONS | OF_TLS if tls else OPTIONS, CLUSTER)
    return ClusterAddress(tuple(_host(node, REDIS_PORT, CLUSTER) for node in nodes.split(",")), options, tls)


def sentinel_address(url: str) -> SentinelAddress:
    """Return what ``sentinel://`` URLs with a ``;`` between them name, as Celery reads them.

    User, password and database are those of the first; one of the others may repeat them, not change them. The query
    may stand at any of them. Raises ConfigurationError.
    """
    for part in url.split(";"):
        check_login(part.partition("://")[2])
    try:
        parts = [urlsplit(part) for part in url.split(";")]
    except ValueError as error:
        raise unusable(error) from None
    if any(part.scheme != "sentinel" for part in parts):
        raise ConfigurationError(f"each of the Sentinels needs its scheme: {SENTINELS}")
    logins = [part.netloc.rpartition("@")[0] for part in parts]
    paths = [part.path.strip("/") for part in parts]
    if any(login not in ("", logins[0]) for login in logins) or any(path not in ("", paths[0]) for path in paths):
        raise ConfigurationError("the Sentinels' URLs name different users, passwords or databases of one master")
    query = "&".join(part.query for part in parts if part.query)
    options = _options(logins[0], f"/{paths[0]}", query, SENTINELS)
    _refuse_others(
        options, OPTIONS | OF_TLS | OF_SENTINELS | {f"{THEIR_OWN}{name}" for name in OWN_OPTIONS} | {"db"}, SENTINELS
    )
    name = options.pop("master_name", None)
    if not name:
        raise ConfigurationError(f"the name of the master is missing; Celery has it in its options: {SENTINELS}")
    try:
        others = int(options.pop("min_other_sentinels", 0))
    except ValueError as error:
        raise ConfigurationError("min_other_sentinels is a number") from error
    named = [(name, options.pop(name)) for name in list(options) if name.startswith(THEIR_OWN)]
    own = _options("", "", urlencode([(name.removeprefix(THEIR_OWN), given) for name, given in named]), SENTINELS)
    trusted = {name: given for name, given in options.items() if name in OF_TLS}
    _settle_tls(options)
    _settle_tls(own, trusted)
    hosts = tuple(_host(part.netloc.rpartition("@")[2], SENTINEL_PORT, SENTINELS) for part in parts)
    tls, db = options.pop("ssl", False), options.pop("db", 0)
    return SentinelAddress(hosts, name, others, own, db, options, tls)


def _settle_tls(options: dict[str, Any], otherwise: Mapping[str, Any] | None = None) -> None:
    """Make ``ssl`` a truth, and leave it out where it is none; ``otherwise``: what TLS goes by that names nothing."""
    wanted = options.pop("ssl", "false")
    if wanted not in ("true", "false"):
        raise ConfigurationError(
            f"ssl is {wanted!r}: write ssl=true for TLS, sentinel_ssl=true for TLS to the Sentinels"
        )
    named = sorted(options.keys() & OF_TLS)
    if wanted == "true":
        options.update({} if named else otherwise or {}, ssl=True)
    elif named:
        raise ConfigurationError(f"{named[0]} is for TLS: add ssl=true, or sentinel_ssl=true for the Sentinels")


def _options(login: str, path: str, query: str, form: str) -> dict[str, Any]:
    """Return what login, database and query set, by their names in redis-py, each as the type it has there."""
    if path.strip("/") and not path.strip("/").isdigit():
        raise ConfigurationError(f"a database is a number: {form}")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"the URL sets {name} twice")
    try:
        options: dict[str, Any] = dict(parse_url(f"redis://{login}@host{path}?{query}"))
    except ValueError as error:
        raise unusable(error) from None
    options.pop("host", None)
    return options


def _refuse_others(options: dict[str, Any], known: frozenset[str], form: str) -> None:
    for name in options.keys() - known:
        raise ConfigurationError(f"no option {name!r} in a URL like {form}: use one of {', '.join(sorted(known))}")


def _host(address: str, port: int, form: str) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{address}")
        host, number = split.hostname, split.port
    except ValueError:  # it quotes what may be of a password
        raise ConfigurationError(f"the URL names no host and port: {form}; {QUOTED}") from None
    if not host:
        raise ConfigurationError(f"the URL names no host: {form}")
    return host, port if number is None else number


def _spell(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
