"""The public names are exactly those that are listed, and they cost nothing until they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ctxqueue

LISTED = set(ctxqueue.__all__)
HEAVY = ("celery", "kombu", "redis", "sqlalchemy", "numpy", "msgspec", "asyncio")


def test_every_listed_name_is_there() -> None:
    for name in LISTED:
        assert getattr(ctxqueue, name) is not None
    assert dir(ctxqueue) == sorted(LISTED)
    assert len(ctxqueue.__all__) == len(LISTED)


def test_nothing_else_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ctxqueue.Nothing  # noqa: B018 - the attribute error is the point


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING name what ``__getattr__`` hands out; those of the errors come by a star."""
    tree = ast.parse(Path(ctxqueue.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name != "*"
    }
    errors = {name for name in LISTED if getattr(getattr(ctxqueue, name), "__module__", "") == "ctxqueue.errors"}
    assert seen == LISTED - errors - {"__version__"}


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import sys, ctxqueue; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_store_in_memory_loads_neither_redis_nor_celery() -> None:
    code = (
        "import sys, ctxqueue; m = ctxqueue.connect('memory://'); w = m.workflow('w'); w.open(); w.put('k', 1);"
        " print([name for name in ('celery', 'kombu', 'redis', 'sqlalchemy', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
