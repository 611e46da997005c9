import csv
import datetime as dt
import decimal
import io
import json
import tempfile
import zipfile
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.consolidation import (
    MAX_CHUNK_BYTES,
    Consolidation,
    Summary,
    Total,
    chunked,
    quarter_of,
    sum_euro,
    to_euro,
)
from workers.rates import RateTable, rate_history, rate_table
from workers.revenue import RevenueRow, SkippedRow, read_part, split_into_parts
from workers.sample import generate

DAY = dt.date(2026, 8, 28)
TABLE: RateTable = {"USD": {"2026-08-28": ["2026-08-28", "1.25"], "2026-01-01": None}, "XXX": None}


def row(amount: str, currency: str = "EUR", entity: str = "Acme", on: dt.date = DAY, line: int = 2) -> RevenueRow:
    return RevenueRow(line, on, entity, Decimal(amount), currency, f"raw {line}")


def consolidated(rows: list[RevenueRow]) -> tuple[list[Total], Summary, list[SkippedRow]]:
    consolidation = Consolidation()
    skipped = consolidation.add_part(rows, rate_table(rows, rate_history()))
    return consolidation.totals(), consolidation.summary, skipped


@pytest.mark.parametrize(
    ("amount", "rate", "eur"),
    [
        ("1", "1", "1.00"),
        ("0.005", "1", "0.00"),
        ("0.015", "1", "0.02"),
        ("0.025", "1", "0.02"),
        ("-0.015", "1", "-0.02"),
        ("0.0250000000000000000000000001", "1", "0.03"),
        ("100", "3", "33.33"),
        ("200", "3", "66.67"),
        ("9" * 30, "0.4", "2499999999999999999999999999997.50"),
    ],
)
def test_converting_rounds_half_to_even(amount: str, rate: str, eur: str) -> None:
    assert str(to_euro(Decimal(amount), Decimal(rate))) == eur


@pytest.mark.parametrize(
    ("day", "quarter"),
    [
        ("2026-01-01", "2026-Q1"),
        ("2026-03-31", "2026-Q1"),
        ("2026-04-01", "2026-Q2"),
        ("2026-09-30", "2026-Q3"),
        ("2026-12-31", "2026-Q4"),
        ("0999-10-01", "0999-Q4"),
    ],
)
def test_quarters(day: str, quarter: str) -> None:
    assert quarter_of(dt.date.fromisoformat(day)) == quarter


def test_totals_are_sums_of_rounded_rows() -> None:
    consolidation = Consolidation()
    assert consolidation.add_part([row("0.005"), row("0.005"), row("0.015")], {}) == []
    assert [total.to_json() for total in consolidation.totals()] == [["Acme", "2026-Q3", "0.02"]]


def test_rows_without_a_rate_are_given_back() -> None:
    consolidation = Consolidation()
    rows = [
        row("1", "USD", line=2),
        row("1", "USD", on=dt.date(2026, 1, 1), line=3),
        row("1", "XXX", line=4),
    ]
    assert consolidation.add_part(rows, TABLE) == [
        SkippedRow(3, "no rate", "raw 3"),
        SkippedRow(4, "unknown currency", "raw 4"),
    ]
    assert consolidation.totals() == [Total("Acme", "2026-Q3", Decimal("0.80"))]
    assert consolidation.summary == Summary(1, DAY, DAY)


def test_the_table_of_other_rows_is_an_error() -> None:
    with pytest.raises(KeyError):
        Consolidation().add_part([row("1", "GBP")], TABLE)


def test_totals_are_sorted_by_entity_then_quarter() -> None:
    early, late = dt.date(2025, 12, 31), dt.date(2026, 1, 1)
    rows = [row("1", entity=entity, on=on) for entity in ("b", "a", "B") for on in (late, early)]
    totals, summary, _ = consolidated(rows)
    assert [(total.entity, total.quarter) for total in totals] == [
        (entity, quarter) for entity in ("B", "a", "b") for quarter in ("2025-Q4", "2026-Q1")
    ]
    assert summary == Summary(6, early, late)


def test_nothing_added() -> None:
    assert consolidated([]) == ([], Summary(0, None, None), [])
    assert str(sum_euro([])) == "0.00"
    assert list(chunked([])) == []


def test_the_context_of_the_caller_does_not_matter() -> None:
    rows = [row("1234567.89", "USD"), row("0.01", "USD")]
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        consolidation = Consolidation()
        consolidation.add_part(rows, TABLE)
        assert str(consolidation.totals()[0].eur) == "987654.32"
        assert str(sum_euro([Decimal("123456.78"), Decimal("0.01")])) == "123456.79"


@pytest.mark.parametrize("summary", [Summary(0, None, None), Summary(3, DAY, dt.date(2026, 9, 1))])
def test_a_summary_survives_json(summary: Summary) -> None:
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_chunks_of_long_names_stay_small() -> None:
    totals = [Total("é" * 30_000 + str(number), "2026-Q3", Decimal("1.00")) for number in range(9)]
    chunks = list(chunked(totals))
    assert [len(chunk) for chunk in chunks] == [4, 4, 1]
    assert all(len(json.dumps(chunk, ensure_ascii=False).encode()) < MAX_CHUNK_BYTES for chunk in chunks)


amounts = st.decimals(-(10**15), 10**15, allow_nan=False, places=2)
entities = st.sampled_from(["Acme", "Beta", "Żółw"])
many_totals = st.lists(st.builds(Total, entities, st.sampled_from(["2026-Q2", "2026-Q3"]), amounts), max_size=30)
rows_of_all_kinds = st.lists(
    st.builds(
        row,
        st.decimals(-(10**9), 10**9, allow_nan=False, places=3).map(str),
        st.sampled_from(["EUR", "USD", "JPY", "HRK", "RUB", "XXX"]),
        entities,
        st.dates(dt.date(2021, 12, 1), dt.date(2023, 2, 1)),
        st.integers(2, 1_000),
    ),
    max_size=30,
)


@given(totals=many_totals, max_rows=st.integers(1, 7))
def test_chunks_put_together_are_the_totals(totals: list[Total], max_rows: int) -> None:
    chunks = json.loads(json.dumps(list(chunked(totals, max_rows))))
    assert [Total.from_json(item) for chunk in chunks for item in chunk] == totals
    assert all(0 < len(chunk) <= max_rows for chunk in chunks)


@given(data=st.data(), rows=rows_of_all_kinds, cut=st.integers(0, 30))
def test_neither_order_nor_split_matters(data: st.DataObject, rows: list[RevenueRow], cut: int) -> None:
    totals, summary, skipped = consolidated(rows)
    shuffled = data.draw(st.permutations(rows))
    consolidation = Consolidation()
    found = []
    for part in (shuffled[:cut], shuffled[cut:]):
        found += consolidation.add_part(part, rate_table(part, rate_history()))
    assert (consolidation.totals(), consolidation.summary) == (totals, summary)
    assert sorted(map(str, found)) == sorted(map(str, skipped))
    assert summary.converted + len(skipped) == len(rows)


@given(
    amount=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4),
    rate=st.decimals("0.4", "400000", places=4),
)
def test_converting_is_exact_rounding_of_the_fraction(amount: Decimal, rate: Decimal) -> None:
    # Python rounds fractions half to even, and does it exactly.
    cents = round(Fraction(amount) * 100 / Fraction(rate))
    assert Fraction(to_euro(amount, rate)) * 100 == cents


def recomputed(text: str) -> tuple[dict[tuple[str, str], Decimal], list[tuple[int, str]]]:
    """Do the whole job once more, in the plainest way, for a file without quoted line ends."""
    packed = resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        history = list(csv.DictReader(io.StringIO(archive.read("eurofxref-hist.csv").decode())))
    published = {line["Date"]: line for line in history}
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    skipped = []
    for number, line in enumerate(csv.reader(text.splitlines()[1:]), start=2):
        try:
            day, entity, written, currency = line
            on, amount = dt.date.fromisoformat(day), Decimal(written)
        except (ValueError, ArithmeticError):
            skipped.append((number, "form"))
            continue
        if not entity.strip() or not currency.isalpha() or not currency.isupper() or "e" in written:
            skipped.append((number, "form"))
            continue
        days = [(on - dt.timedelta(days=back)).isoformat() for back in range(8)]
        rates = [published[near].get(currency, "?") for near in days if near in published]
        known = [rate for rate in rates if rate not in {"N/A", "?"}]
        if currency == "EUR":
            known = ["1"]
        if not known:
            skipped.append((number, "unknown currency" if "?" in rates else "no rate"))
            continue
        rounded = (amount / Decimal(known[0])).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
        totals[entity.strip(), f"{on.year}-Q{1 + (on.month - 1) // 3}"] += rounded
    return dict(totals), skipped


def run(text: str, rows_per_part: int) -> tuple[dict[tuple[str, str], Decimal], list[SkippedRow], Summary]:
    consolidation = Consolidation()
    skipped: list[SkippedRow] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "revenue.csv")
        path.write_text(text, encoding="utf-8", newline="")
        for part in split_into_parts(path, rows_per_part):
            rows, bad = read_part(path, part)
            skipped += bad + consolidation.add_part(rows, rate_table(rows, rate_history()))
    totals = {(total.entity, total.quarter): total.eur for total in consolidation.totals()}
    return totals, sorted(skipped, key=lambda row: row.line), consolidation.summary


def reasons(skipped: list[SkippedRow]) -> list[tuple[int, str]]:
    rates_reasons = {"no rate", "unknown currency"}
    return [(row.line, row.reason if row.reason in rates_reasons else "form") for row in skipped]


def test_the_sample_recomputed() -> None:
    text = generate.PATH.read_text(encoding="utf-8")
    totals, skipped, summary = run(text, 500)
    assert (totals, reasons(skipped)) == recomputed(text)
    assert summary.converted + len(skipped) == len(text.splitlines()) - 1


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.dates(dt.date(1998, 12, 1), dt.date(2026, 12, 31)).map(str), st.just("2026-13-01")),
            st.sampled_from(["Acme", "Beta, Inc.", 'The "C"', " Delta", ""]),
            st.one_of(st.decimals(-(10**9), 10**9, places=2).map(str), st.sampled_from(["1,5", "x", "1e3"])),
            st.sampled_from([*sorted(rate_history().currencies), "XXX", "usd"]),
        ),
        min_size=1,
        max_size=20,
    ),
    size=st.integers(1, 7),
)
def test_random_rows_recomputed(rows: list[tuple[str, ...]], size: int) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([("date", "entity", "amount", "currency"), *rows])
    totals, skipped, _ = run(out.getvalue(), size)
    # A row dated after the end of the history has no day to tell an unknown currency from one without a rate.
    expected, left_out = recomputed(out.getvalue())
    assert totals == expected
    assert [line for line, _ in left_out] == [row.line for row in skipped]


def test_the_sample_is_what_its_generator_writes() -> None:
    assert generate.PATH.read_bytes() == generate.generate().encode()


def test_the_sample_has_the_promised_variety() -> None:
    lines = list(csv.DictReader(generate.PATH.read_text(encoding="utf-8").splitlines()))
    _, skipped, summary = run(generate.generate(), 500)
    assert len(lines) >= 2_400
    assert len({line["entity"] for line in lines}) >= 30
    assert len({line["currency"] for line in lines} & rate_history().currencies) >= 15
    assert sum(line["date"][:7] in {"2026-07", "2026-08", "2026-09"} for line in lines) > len(lines) / 2
    assert summary.first is not None
    assert summary.first.year == 2025
    assert {row.reason.partition(":")[0] for row in skipped} == {
        "bad amount",
        "bad currency",
        "bad date",
        "no entity",
        "no rate",
        "unknown currency",
        "wrong number of fields",
    }
