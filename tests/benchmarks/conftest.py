"""One report a run, and workflows of known size."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """What all benchmarks of the run report to; it is written when the last one has ended."""
    report = Report()
    yield report
    for path in report.write():
        sys.stdout.write(f"{path}\n")
