import csv
import datetime as dt
import io
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.consolidation import Summary, Total
from workers.report import render_chart, render_report, render_skipped, write_report
from workers.revenue import SkippedRow

SVG = "{http://www.w3.org/2000/svg}"
SUMMARY = Summary(12, dt.date(2026, 4, 1), dt.date(2026, 9, 30))
TOTALS = [
    Total("Beta", "2026-Q3", Decimal("-1234.50")),
    Total("Acme", "2026-Q3", Decimal("10.00")),
    Total("Acme", "2026-Q2", Decimal("0.10")),
]
SKIPPED = [
    SkippedRow(9, "no rate", "2026-08-05,Acme,1,HRK"),
    SkippedRow(3, "wrong number of fields: 3, not 4", '=1+1,"a\r\nb",2'),
    SkippedRow(5, "no rate", "2026-08-06,Acme,1,HRK"),
]

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
quarters = st.builds("{}-Q{}".format, st.integers(1999, 2026), st.integers(1, 4))
euros = st.decimals(-(10**31), 10**31, places=2, allow_nan=False)
many_totals = st.dictionaries(st.tuples(names, quarters), euros, max_size=15).map(
    lambda amounts: [Total(entity, quarter, eur) for (entity, quarter), eur in amounts.items()]
)


def tables(page: str) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """Read each table of a page: its header to its rows, with cells as they stand in the text."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    rows = None
    for line in page.splitlines():
        if not line.startswith("|"):
            rows = None
            continue
        cells = tuple(cell[1:-1] for cell in re.findall(r"(?:[^|\\]|\\.)+", line))
        if rows is None:
            rows = found.setdefault(cells, [])
        elif set("".join(cells)) != {"-", ":"}:
            rows.append(cells)
    return found


def shown(name: str) -> str:
    """Write a name as it is read in a rendered cell, with one mark for every end of a line."""
    return "\n".join(re.split("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", name))


def unescaped(cell: str) -> str:
    return re.sub(r"\\(.)|<br>", lambda found: found[1] or "\n", cell)


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314 - the text is ours


def bars(chart: str) -> list[tuple[str, str, str]]:
    root = parsed(chart)
    return [
        (bar.attrib["data-entity"], bar.attrib["data-quarter"], bar.attrib["data-eur"])
        for bar in root.iter(f"{SVG}rect")
    ]


def test_the_page() -> None:
    page = render_report(TOTALS, SUMMARY, SKIPPED)
    assert page.startswith("# Revenue by entity and quarter, in euro\n")
    assert "Period: 2026-04-01 to 2026-09-30\n" in page
    assert "Rows converted: 12\n" in page
    assert "Rows skipped: 3 (see [skipped.csv](skipped.csv))\n" in page
    assert "\n| entity | quarter | eur |\n| --- | --- | ---: |\n| Acme | 2026-Q2 | 0.10 |\n" in page
    assert "**Grand total: -1224.40 EUR**" in page
    assert tables(page) == {
        ("entity", "quarter", "eur"): [
            ("Acme", "2026-Q2", "0.10"),
            ("Acme", "2026-Q3", "10.00"),
            ("Beta", "2026-Q3", "-1234.50"),
        ],
        ("quarter", "eur"): [("2026-Q2", "0.10"), ("2026-Q3", "-1224.50")],
        ("entity", "eur"): [("Acme", "10.10"), ("Beta", "-1234.50")],
        ("reason", "rows"): [("no rate", "2"), ("wrong number of fields", "1")],
    }


def test_a_page_without_rows() -> None:
    page = render_report([], Summary(0, None, None), [])
    assert "Period: no rows\n" in page
    assert "Rows skipped: 0\n" in page
    assert "Grand total: 0.00 EUR" in page
    assert tables(page) == {("entity", "quarter", "eur"): [], ("quarter", "eur"): [], ("entity", "eur"): []}


def test_names_are_escaped_for_markdown() -> None:
    names = ["a|b", "a\\", "a\\|b", "a\nb", "<br>", "Smith & Sons"]
    page = render_report([Total(name, "2026-Q3", Decimal("1.00")) for name in names], SUMMARY, [])
    cells = [cells[0] for cells in tables(page)["entity", "quarter", "eur"]]
    assert cells == [r"\<br>", "Smith & Sons", "a<br>b", r"a\\", r"a\\\|b", r"a\|b"]


@given(totals=many_totals)
def test_the_table_parses_back(totals: list[Total]) -> None:
    found = tables(render_report(totals, SUMMARY, []))
    expected = [(shown(total.entity), total.quarter, str(total.eur)) for total in sorted(totals)]
    assert [(unescaped(name), quarter, eur) for name, quarter, eur in found["entity", "quarter", "eur"]] == expected
    for columns in (("quarter", "eur"), ("entity", "eur")):
        assert sum(Fraction(eur) for _, eur in found[columns]) == sum(Fraction(total.eur) for total in totals)


@given(totals=many_totals)
def test_the_bars_are_the_table(totals: list[Total]) -> None:
    not_xml = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
    assert bars(render_chart(totals)) == [
        (not_xml.sub("\ufffd", total.entity), total.quarter, str(total.eur)) for total in sorted(totals)
    ]


@given(totals=many_totals)
def test_the_bars_lie_inside_the_chart_and_apart(totals: list[Total]) -> None:
    root = parsed(render_chart(totals))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    below = 0.0
    for bar in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert below <= y <= y + h <= height
        below = y + h


def test_lengths_are_to_scale_from_zero() -> None:
    totals = [Total("a", f"2026-Q{quarter}", Decimal(eur)) for quarter, eur in ((1, 300), (2, -150), (3, 0))]
    root = parsed(render_chart(totals))
    plus, minus, nothing = ((float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in root.iter(f"{SVG}rect"))
    assert plus[1] == pytest.approx(2 * minus[1], abs=0.05)
    assert plus[0] == pytest.approx(minus[0] + minus[1], abs=0.05)
    assert nothing == (plus[0], 1.0)


@pytest.mark.parametrize(
    ("greatest", "unit", "label"),
    [
        ("0.03", "EUR", "0.03"),
        ("900", "EUR", "1,000"),
        ("9000", "thousand EUR", "8"),
        ("8000000", "million EUR", "8"),
        ("8e9", "billion EUR", "8"),
        ("8e15", "trillion EUR", "8,000"),
        ("0", "EUR", "0"),
    ],
)
def test_the_axis_has_short_numbers(greatest: str, unit: str, label: str) -> None:
    chart = render_chart([Total("a", "2026-Q3", Decimal(greatest))])
    texts = [element.text for element in parsed(chart).iter(f"{SVG}text")]
    assert unit in texts
    assert label in texts


def test_the_legend_has_each_quarter_and_the_side_each_entity() -> None:
    totals = [Total(f"Entity {n:03}", f"{2000 + n % 20}-Q1", Decimal(n - 50)) for n in range(100)]
    texts = Counter(element.text for element in parsed(render_chart(totals)).iter(f"{SVG}text"))
    assert all(texts[f"{2000 + n}-Q1"] == 1 for n in range(20))
    assert all(texts[f"Entity {n:03}"] == 1 for n in range(100))


def test_a_long_name_is_shortened_on_the_side_only() -> None:
    name = "A very long name\nof an entity that would run out of the picture"
    chart = render_chart([Total(name, "2026-Q3", Decimal("1.00"))])
    assert bars(chart) == [(name, "2026-Q3", "1.00")]
    assert ">A very long name of an entity t…</text>" in chart


def test_skipped_rows_are_sorted_and_exact() -> None:
    text = render_skipped(SKIPPED)
    assert text.startswith("line,reason,raw\r\n")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["line", "reason", "raw"]
    assert [(int(line), reason, raw) for line, reason, raw in rows] == [
        (row.line, row.reason, row.raw) for row in sorted(SKIPPED, key=lambda row: row.line)
    ]


@given(raws=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=10))
def test_any_raw_text_parses_back(raws: list[str]) -> None:
    text = render_skipped(SkippedRow(line, "bad date", raw) for line, raw in enumerate(raws))
    assert [raw for _, _, raw in csv.reader(io.StringIO(text, newline=""))][1:] == raws


def test_the_files_are_the_same_whatever_the_order(tmp_path: Path) -> None:
    there = write_report(tmp_path / "a" / "b", TOTALS, SUMMARY, SKIPPED)
    back = write_report(tmp_path / "c", iter(TOTALS[::-1]), SUMMARY, iter(SKIPPED[::-1]))
    assert [path.name for path in there] == ["skipped.csv", "chart.svg", "report.md"]
    assert [path.read_bytes() for path in there] == [path.read_bytes() for path in back]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "chart.svg",
        "report.md",
        "skipped.csv",
    ]


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    write_report(tmp_path, TOTALS, SUMMARY, SKIPPED)
    write_report(tmp_path, TOTALS[:1], SUMMARY, [])
    assert "Acme" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "skipped.csv").read_bytes() == b"line,reason,raw\r\n"


def test_a_write_that_fails_leaves_the_report_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_report(tmp_path, TOTALS, SUMMARY, SKIPPED)
    before = [path.read_bytes() for path in paths]
    write_text = Path.write_text

    def full_disk(path: Path, text: str, encoding: str, newline: str) -> int:
        if "report.md" in path.name:
            write_text(path, text[:100], encoding=encoding, newline=newline)
            raise OSError(28, "No space left on device")
        return write_text(path, text, encoding=encoding, newline=newline)

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, TOTALS[:1], SUMMARY, [])
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.read_bytes() for path in paths] == before


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_report(tmp_path / "file", TOTALS, SUMMARY, SKIPPED)
