"""Imports point down only, and a third-party library is imported only where it is at home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = (
    {
        "audited",
        "models",
        "errors",
        "codec",
        "clock",
        "settings",
        "hooks",
        "identity",
        "binding",
        "records",
        "remembered",
        "rendering",
        "typed",
        "read_paths",
        "views",
        "envelopes",
        "keyring",
        "signing",
        "threads",
    },
    {"rules", "effects", "drivers"},
    {"flows", "stores"},
    {
        *("agents", "callbacks", "callbacks_aio", "notifications", "tracking"),
        *("handles", "context", "aio", "pending", "after_commit", "storages", "subscriptions", "triggers", "waiting"),
        "recording",
        "watching",
        "memories",
    },
    {"integration", "tasks", "inspector", "observability", "adapters", "testing"},
)
"""Rooms of ctxqueue, from the ground up; those of one floor may import each other, except siblings."""
SIBLINGS = {"flows", "stores"}
ROOF = len(FLOORS)
"""ctxqueue/__init__.py, the public face: it hands out all below it, and nothing below it imports it."""
ABOVE = ROOF + 1
"""workers and config, and what is no part of either."""

HOMES = {
    "celery": ("ctxqueue.integration", "ctxqueue.tasks", "ctxqueue.testing.plugin", "workers"),
    "kombu": ("ctxqueue.integration", "ctxqueue.tasks", "ctxqueue.testing.plugin", "workers"),
    "redis": ("ctxqueue.stores.redis",),
    "sqlalchemy": ("ctxqueue.stores.sql",),
    "alembic": ("ctxqueue.stores.sql",),
    "psycopg": ("ctxqueue.stores.sql",),
    "cryptography": ("ctxqueue.keyring",),
}
OURS = {"ctxqueue", "workers", "config", "tests"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("ctxqueue", "workers")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def floor_of(module: str) -> int:
    """Raises LookupError for a room of ctxqueue that stands on no floor."""
    top, *rooms = module.split(".")
    if top != "ctxqueue":
        return ABOVE
    if not rooms:
        return ROOF
    for floor, names in enumerate(FLOORS):
        if rooms[0] in names:
            return floor
    raise LookupError(f"{module}: give {rooms[0]} a floor")


def imports_of(module: str, source: str, *, is_package: bool) -> set[str]:
    """All modules imported, anywhere in the source and for type checking too, by their full names.

    ``from a import b`` counts as ``a.b`` if that is a module of ours, else as ``a``.
    """
    found: set[str] = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{origin}.{alias.name}" for alias in node.names}
            found.update(name if name in MODULES else origin for name in names)
    return found


def objection(module: str, imported: str) -> str | None:
    """Why the module may not import that; None if it may."""
    top = imported.partition(".")[0]
    if top in HOMES:
        if any(module == home or module.startswith(f"{home}.") for home in HOMES[top]):
            return None
        return f"{module} imports {imported}, which is at home only in {', '.join(HOMES[top])}"
    if top not in OURS:
        return None
    if floor_of(imported) > floor_of(module):
        return f"{module} imports {imported}, which is above it"
    rooms = {name.split(".")[1] for name in (module, imported) if name.startswith("ctxqueue.")}
    if rooms == SIBLINGS:
        return f"{module} imports {imported}, its sibling"
    return None


def test_imports_point_down_only() -> None:
    objections = [
        problem
        for module, path in MODULES.items()
        for imported in imports_of(module, path.read_text(encoding="utf-8"), is_package=path.stem == "__init__")
        if (problem := objection(module, imported))
    ]
    assert not objections, "\n".join(sorted(objections))


def test_every_module_has_a_floor() -> None:
    assert "ctxqueue.errors" in MODULES
    for module in MODULES:
        floor_of(module)


def test_importing_ctxqueue_loads_no_heavy_library() -> None:
    code = "import sys, ctxqueue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"celery", "kombu", "redis", "sqlalchemy", "numpy", "cryptography"}
    assert heavy.isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import redis.asyncio as r", "redis.asyncio"),
        ("from celery import Task", "celery"),
        ("from ctxqueue.errors import CtxqueueError", "ctxqueue.errors"),
        ("from ctxqueue import errors", "ctxqueue.errors"),
        ("from ctxqueue import connect", "ctxqueue"),
        ("from . import base", "ctxqueue.stores.base"),
        ("from .base import Store", "ctxqueue.stores.base"),
        ("from ..errors import CtxqueueError", "ctxqueue.errors"),
        ("def later():\n    import numpy", "numpy"),
        ("if TYPE_CHECKING:\n    from kombu import Queue", "kombu"),
    ],
)
def test_every_form_of_import_is_read(source: str, imported: str) -> None:
    assert imports_of("ctxqueue.stores.inprocess", source, is_package=False) == {imported}
    assert imports_of("ctxqueue.stores", source, is_package=True) == {imported}


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("ctxqueue.errors", "ctxqueue.models"),
        ("ctxqueue.flows.entries", "ctxqueue.flows.reading"),
        ("ctxqueue.stores.redis.store", "ctxqueue.stores.base"),
        ("ctxqueue.stores.redis.store", "redis.asyncio"),
        ("ctxqueue.tasks.context_updates", "celery"),
        ("ctxqueue.testing.plugin", "celery"),
        ("ctxqueue.context", "ctxqueue.stores.base"),
        ("ctxqueue", "ctxqueue.context"),
        ("workers.app", "ctxqueue"),
        ("workers.app", "workers.report"),
        ("ctxqueue.codec", "msgspec"),
    ],
)
def test_what_may_be_imported(module: str, imported: str) -> None:
    assert objection(module, imported) is None


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("ctxqueue.errors", "ctxqueue.rules.merging"),
        ("ctxqueue.effects", "ctxqueue.stores.base"),
        ("ctxqueue.flows.entries", "ctxqueue.stores.base"),
        ("ctxqueue.stores.base", "ctxqueue.flows.entries"),
        ("ctxqueue.context", "ctxqueue.integration.install"),
        ("ctxqueue.integration.install", "ctxqueue"),
        ("ctxqueue.integration.install", "workers.app"),
        ("ctxqueue.context", "tests.waiting"),
        ("ctxqueue.context", "celery"),
        ("ctxqueue.testing.servers", "celery"),
        ("ctxqueue.stores.base", "redis"),
        ("ctxqueue.stores.rediscovery", "redis"),
        ("workers.run", "redis"),
        ("workers.run", "sqlalchemy.orm"),
    ],
)
def test_what_may_not_be_imported(module: str, imported: str) -> None:
    assert objection(module, imported)
