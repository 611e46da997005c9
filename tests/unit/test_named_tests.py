"""What the documentation names as a test, a benchmark or a file of them is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("workers/*.md")])
FILE = re.compile(r"\btests/[\w./-]*\w(?:\.py)?/?(?:::\w+)*")
SHORT = re.compile(r"`((?:(?:contract|flows|rules|stores|tasks)/[\w/]+|test_\w+|bench_\w+)\.py)`")
"""The end of a path alone."""
DEFINED = re.compile(r"^ *(?:async )?(?:def|class) (\w+)", re.MULTILINE)
NAME = re.compile(r"`(test_\w+|Test[A-Z]\w+)`")


def defined(path: Path) -> set[str]:
    """Return the names of the functions and classes of a file."""
    return set(DEFINED.findall(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def everywhere() -> set[str]:
    """The names of all tests and of the contract's."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("ctxqueue/testing/**/*.py")]
    return set().union(*map(defined, files))


def missing(text: str, everywhere: set[str]) -> list[str]:
    """Return what a page names and nothing is."""
    lacking = [name for name in NAME.findall(text) if name not in everywhere]
    for named in FILE.findall(text):
        path, *names = named.split("::")
        if not (ROOT / path).exists() or (names and not defined(ROOT / path).issuperset(names)):
            lacking.append(named)
    return lacking + [end for end in SHORT.findall(text) if not any(has(room, end) for room in ("ctxqueue", "tests"))]


def has(room: str, end: str) -> bool:
    return next(ROOT.glob(f"{room}/**/{end}"), None) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_only_tests_that_there_are(page: Path, everywhere: set[str]) -> None:
    assert missing(page.read_text(encoding="utf-8"), everywhere) == []


def test_one_that_is_not_there_is_found(everywhere: set[str]) -> None:
    text = """`test_that_nobody_wrote` in tests/unit/test_nowhere.py, `tests/unit/test_named_tests.py::test_nothing`,
    `tests/unit/test_named_tests.py::test_one_that_is_not_there_is_found`, `flows/nowhere.py`, `flows/reading.py`, and
    tests/unit/."""
    assert missing(text, everywhere) == [
        "test_that_nobody_wrote",
        "tests/unit/test_nowhere.py",
        "tests/unit/test_named_tests.py::test_nothing",
        "flows/nowhere.py",
    ]
