"""The main job: who does what, and what each waits for. Nothing here waits; the keys do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctxqueue.rules.conditions import keys_of
from workers import entries
from workers.app import ctx
from workers.financial_agent import FOLLOW, follow
from workers.financial_calculator import calculate, everything
from workers.report_generator import write
from workers.revenue import MAX_PART_BYTES, MAX_PART_ROWS, Part, split_into_parts
from workers.web_extractor import extract_rates, extract_revenue

if TYPE_CHECKING:
    from pathlib import Path

    from celery.result import AsyncResult

MAX_PARTS = 500
"""A condition names at most 1,000 keys, two for each part."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""The context holds each row as it was read and as it stands in the file, its rate, and at worst a total of its own:
of a file of this size and of 500 parts less than `ctxqueue_max_bytes` in `config/`."""


class FileTooLargeError(ValueError):
    """The file has more rows or bytes than one calculation can wait for."""


@dataclass(frozen=True, slots=True)
class Step:
    """One published task: what it is called, what it needs, and its result to be."""

    label: str
    needs: tuple[str, ...]
    result: AsyncResult[dict[str, Any]]


def plan(source: Path) -> list[Part]:
    """Look through the file; raises RevenueFileError, FileTooLargeError before anything is started."""
    if source.is_file() and (size := source.stat().st_size) > MAX_FILE_BYTES:
        raise FileTooLargeError(f"{source} has {size} bytes: at most {MAX_FILE_BYTES}; split the file")
    parts = split_into_parts(source)
    if len(parts) > MAX_PARTS:
        raise FileTooLargeError(
            f"{source} has {len(parts)} parts of up to {MAX_PART_ROWS} rows or {MAX_PART_BYTES} bytes:"
            f" at most {MAX_PARTS}; split the file"
        )
    return parts


def start(workflow_id: str, source: Path, output: Path, parts: list[Part]) -> list[Step]:
    """Make the workflow and publish every task at once; the store lets each go when its keys are there.

    Those that wait come first here, to show that they hold no worker. Raises WorkflowExists: what an earlier run left
    under the same id would let them go too early.
    """
    what = {"source": str(source), "output": str(output), "parts": len(parts)}
    ctx.manager.create_workflow_context(workflow_id, what)
    with ctx.workflow(workflow_id):
        steps = [
            Step("report_generator.write", (entries.SUMMARY,), write.delay(str(output))),
            Step("financial_calculator.calculate", _keys(len(parts)), calculate.delay(len(parts))),
        ]
        steps += [
            Step("web_extractor.extract_rates", (entries.revenue(part.index),), extract_rates.delay(part.index))
            for part in parts
        ]
        steps += [
            Step("web_extractor.extract_revenue", (), extract_revenue.delay(str(source), part.to_json()))
            for part in parts
        ]
    return steps


def keep_true(workflow_id: str) -> AsyncResult[dict[str, Any]]:
    """Have the report of a run made again whenever a rate changes by more than 1% after it."""
    with ctx.workflow(workflow_id):
        result: AsyncResult[dict[str, Any]] = follow.delay(FOLLOW)
    return result


def _keys(parts: int) -> tuple[str, ...]:
    return tuple(keys_of(everything(parts)))
