"""Revenue rows to euro totals by entity and quarter.

Each row is converted and rounded to cents by itself, half to even, and a total is the exact sum of rounded
rows. So the totals do not depend on how the rows were split into parts or on the order in which these came.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Self

from workers.rates import RateMissingError, RateTable, look_up
from workers.revenue import RevenueRow, SkippedRow

MAX_CHUNK_ROWS = 1_000
MAX_CHUNK_BYTES = 256 * 1024

CENT = Decimal("0.01")
# A quotient is rounded twice, here and to cents. An amount has at most 30 digits and a rate about 8, so with
# 100 digits the first rounding cannot turn a value near half a cent into half a cent; and no sum is rounded.
_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True, order=True)
class Total:
    """Euro of one entity in one quarter such as `2026-Q3`; `eur` has two decimals."""

    entity: str
    quarter: str
    eur: Decimal

    def to_json(self) -> list[str]:
        """Give the total as a list of three strings."""
        return [self.entity, self.quarter, str(self.eur)]

    @classmethod
    def from_json(cls, item: Sequence[str]) -> Self:
        """Rebuild a total from what `to_json` gave."""
        entity, quarter, eur = item
        return cls(entity, quarter, Decimal(eur))


@dataclass(frozen=True, slots=True)
class Summary:
    """How many rows were converted, and their first and last day (None if there were none)."""

    converted: int
    first: dt.date | None
    last: dt.date | None

    def to_json(self) -> list[Any]:
        """Give the summary as a list of the number and two ISO dates or None."""
        return [self.converted, *(day.isoformat() if day else None for day in (self.first, self.last))]

    @classmethod
    def from_json(cls, item: Sequence[Any]) -> Self:
        """Rebuild a summary from what `to_json` gave."""
        converted, *days = item
        return cls(converted, *(dt.date.fromisoformat(day) if day else None for day in days))


class Consolidation:
    """Totals that grow part by part."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._totals: dict[tuple[str, str], Decimal] = {}
        self._summary = Summary(0, None, None)

    def add_part(self, rows: Iterable[RevenueRow], rates: RateTable) -> list[SkippedRow]:
        """Add rows to the totals, with the table made for them, and give back those that have no rate.

        Raises `KeyError` if the table was made for other rows.
        """
        skipped = []
        for row in rows:
            try:
                eur = to_euro(row.amount, look_up(rates, row.currency, row.date).value)
            except RateMissingError as missing:
                skipped.append(SkippedRow(row.line, missing.reason, row.raw))
            else:
                self._add(row, eur)
        return skipped

    @property
    def summary(self) -> Summary:
        """What was converted so far."""
        return self._summary

    def totals(self) -> list[Total]:
        """Give the totals so far, by entity, then quarter."""
        return [Total(entity, quarter, eur) for (entity, quarter), eur in sorted(self._totals.items())]

    def _add(self, row: RevenueRow, eur: Decimal) -> None:
        key = (row.entity, quarter_of(row.date))
        self._totals[key] = _EXACT.add(self._totals.get(key, Decimal("0.00")), eur)
        seen = self._summary
        self._summary = Summary(
            seen.converted + 1, min(seen.first or row.date, row.date), max(seen.last or row.date, row.date)
        )


def to_euro(amount: Decimal, rate: Decimal) -> Decimal:
    """Convert an amount at a rate of units to the euro; the result is rounded to cents, half to even."""
    return _EXACT.quantize(_EXACT.divide(amount, rate), CENT)


def sum_euro(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts exactly, whatever the decimal context of the caller; 0.00 if there are none."""
    total = Decimal("0.00")
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def quarter_of(day: dt.date) -> str:
    """Name the calendar quarter of a day, as in `2026-Q3`."""
    return f"{day.year:04d}-Q{(day.month + 2) // 3}"


def chunked(totals: Iterable[Total], max_rows: int = MAX_CHUNK_ROWS) -> Iterator[list[list[str]]]:
    """Cut totals, in their order, into lists for JSON, so that each fits well into a context entry.

    A list has at most `max_rows` items, and at most `MAX_CHUNK_BYTES` bytes of text if it has more than one.
    `Total.from_json` reads an item.
    """
    chunk: list[list[str]] = []
    size = 0
    for item in (total.to_json() for total in totals):
        item_size = sum(len(text.encode()) for text in item)
        if chunk and (len(chunk) == max_rows or size + item_size > MAX_CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += item_size
    if chunk:
        yield chunk
