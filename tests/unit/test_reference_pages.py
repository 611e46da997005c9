"""Whatever is public is in the reference, with words of its own; the table of settings is what the code says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import ctxqueue
import ctxqueue.testing
from ctxqueue.integration.install import ContextQueue
from ctxqueue.integration.task import ContextTask

ROOT = Path(__file__).parents[2]
DIRECTIVE = re.compile(r"^::: (\S+)\n(?:    options:\n      inherited_members: \[(.*)\]\n)?", re.MULTILINE)
INTERNAL = {"terms", "share", "check_operator"} | {"Request", "backend", "retry"}
"""Of base classes: for the library's own modules; Celery's own, which ours stand in for."""


@cache
def documented() -> dict[str, frozenset[str]]:
    """Return what the pages show: names, and which inherited members of each."""
    found: dict[str, frozenset[str]] = {}
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        for name, inherited in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            found[name] = frozenset(filter(None, inherited.split(", ")))
    return found


def is_shown(module: str, name: str) -> bool:
    return module in documented() or f"{module}.{name}" in documented()


def public() -> list[tuple[str, Any]]:
    named = [(name, getattr(ctxqueue, name)) for name in ctxqueue.__all__ if not name.startswith("_")]
    return [*named, ("ContextQueue", ContextQueue), ("ContextTask", ContextTask)]


CLASSES = [each for _, each in public() if inspect.isclass(each) and not issubclass(each, ctxqueue.CtxqueueError)]


def members(of: type) -> list[tuple[str, Any, type]]:
    """Return the public methods and properties of a class that are this library's, and where each is written."""
    found = []
    for name in dir(of):
        owner = next(base for base in of.__mro__ if name in vars(base)) if not name.startswith("_") else object
        member = inspect.unwrap(vars(owner)[name]) if owner is not object else None
        if owner.__module__.startswith("ctxqueue.") and (
            inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        ):
            found.append((name, member, owner))
    return found


def test_every_public_name_is_in_the_reference() -> None:
    testing = [(name, getattr(ctxqueue.testing, name)) for name in ctxqueue.testing.__all__]
    missing = [name for name, each in [*public(), *testing] if not is_shown(each.__module__, name)]
    assert missing == []


def test_every_public_member_is_in_the_reference_and_says_what_it_does() -> None:
    missing = []
    for of in CLASSES:
        bases = [f"{base.__module__}.{base.__qualname__}" for base in of.__mro__]
        inherited = frozenset[str]().union(*(documented().get(name, ()) for name in bases))
        for name, member, owner in members(of):
            shown = owner is of or name in inherited or is_shown(owner.__module__, owner.__qualname__)
            if not (shown or name in INTERNAL) or not inspect.getdoc(member):
                missing.append(f"{of.__name__}.{name} of {owner.__name__}")
    assert missing == []


def test_the_table_of_settings_is_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "settings_page.py"), "--check"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
