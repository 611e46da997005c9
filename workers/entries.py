"""The context entries by which the agents hand each other their work: one name, one meaning.

Names carry the words that the agents' filters go by: the calculator sees ``revenue`` and ``exchange``, the report
what is of high priority.
"""

from typing import Any

from workers.revenue import SkippedRow

SUMMARY = "calculation_results"
"""What was converted, and how many chunks of totals and of skipped rows there are."""
OUTPUT = "report_output"
"""Where the report is."""

MAX_CHUNK_BYTES = 256 * 1024


def revenue(part: int) -> str:
    """Rows of one part of the file."""
    return f"revenue_data_{part:05d}"


def extraction_errors(part: int) -> str:
    """Rows of one part that could not be read."""
    return f"extraction_errors_{part:05d}"


def rates(part: int) -> str:
    """Euro rates for the rows of one part."""
    return f"exchange_rates_{part:05d}"


ALL_RATES = "exchange_rates_*"
"""A pattern: the rates of every part."""


def rates_used(part: int) -> str:
    """The rates of one part as the last calculation went by them."""
    return f"calculation_rates_{part:05d}"


def used_of(rates_key: str) -> str:
    """Name the rates that were used in place of those under a key."""
    return rates_key.replace("exchange", "calculation", 1)


def totals(chunk: int) -> str:
    """Some of the totals."""
    return f"calculation_results_{chunk:05d}"


def no_rate(chunk: int) -> str:
    """Some of the rows without a rate."""
    return f"calculation_skipped_{chunk:05d}"


def chunked(rows: list[SkippedRow]) -> list[list[list[Any]]]:
    """Cut skipped rows into lists that each fit well into an entry."""
    chunks: list[list[list[Any]]] = []
    size = MAX_CHUNK_BYTES
    for row in rows:
        row_size = len(row.raw.encode()) + len(row.reason.encode())
        if size + row_size > MAX_CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(row.to_json())
        size += row_size
    return chunks
