import csv
import datetime as dt
import io
import json
import tempfile
import tracemalloc
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.revenue import (
    CUT_CHARS,
    MAX_PART_BYTES,
    MAX_PART_ROWS,
    MAX_ROW_BYTES,
    MAX_ROW_LINES,
    Part,
    RevenueFileError,
    RevenueRow,
    SkippedRow,
    read_part,
    read_rows,
    split_into_parts,
)

HEADER = "date,entity,amount,currency"
GOOD = "2026-07-01,Acme,10.50,USD"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revenue.csv"


def rows_of(path: Path, text: str | bytes) -> list[RevenueRow | SkippedRow]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_rows(path))


def reason_of(path: Path, line: str) -> str:
    (row,) = rows_of(path, f"{HEADER}\n{line}\n")
    assert isinstance(row, SkippedRow)
    assert (row.line, row.raw) == (2, line)
    return row.reason


def by_parts(path: Path, rows_per_part: int) -> list[RevenueRow | SkippedRow]:
    found: list[RevenueRow | SkippedRow] = []
    for part in split_into_parts(path, rows_per_part):
        good, skipped = read_part(path, part)
        found += sorted([*good, *skipped], key=lambda row: row.line)
    return found


def test_a_good_row(path: Path) -> None:
    assert rows_of(path, f"{HEADER}\n{GOOD}\n") == [
        RevenueRow(2, dt.date(2026, 7, 1), "Acme", Decimal("10.50"), "USD", GOOD)
    ]


def test_the_columns_are_found_by_name(path: Path) -> None:
    text = "note, Currency ,AMOUNT,date,Entity\nx, USD , 10.50 , 2026-07-01 ,  Acme \n"
    (row,) = rows_of(path, text)
    raw = "x, USD , 10.50 , 2026-07-01 ,  Acme "
    assert row == RevenueRow(2, dt.date(2026, 7, 1), "Acme", Decimal("10.50"), "USD", raw)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "the ending"])
def test_byte_order_mark_and_line_endings_make_no_difference(path: Path, bom: bytes, ending: str, last: str) -> None:
    lines = [HEADER, "2026-07-01,Żółw,1,EUR", "", "bad", "2026-07-02,Acme,2,EUR"]
    text = ending.join(lines) + (ending if last else "")
    found = rows_of(path, bom + text.encode())
    assert [(row.line, row.raw) for row in found] == [(2, lines[1]), (4, "bad"), (5, lines[4])]
    assert by_parts(path, 2) == found


def test_blank_lines_are_ignored_but_counted(path: Path) -> None:
    assert [row.line for row in rows_of(path, f"{HEADER}\n\n   \n{GOOD}\n\r\n\n{GOOD}")] == [4, 7]


def test_a_quoted_field_may_go_over_lines(path: Path) -> None:
    raw = '2026-07-01,"Acme,\r\n""North""\n",10,USD'
    first, second = rows_of(path, f"{HEADER}\n{raw}\r\n{GOOD}\n")
    assert isinstance(first, RevenueRow)
    assert (first.line, first.entity, first.raw) == (2, 'Acme,\r\n"North"', raw)
    assert second.line == 5


@pytest.mark.parametrize(
    "stray",
    [
        '2026-07-01,"Acme,10,USD',
        '2026-07-01,Acme,10,"USD',
        '2026-07-01,Acme,10,USD,"',
    ],
)
@pytest.mark.parametrize("later", [GOOD, '2026-07-02,"Acme, Inc.",7,EUR'])
def test_a_stray_quote_costs_its_own_line_only(path: Path, stray: str, later: str) -> None:
    first, *others = rows_of(path, f"{HEADER}\n{stray}\n{GOOD}\n{later}\n{GOOD}")
    assert first == SkippedRow(2, "unclosed quote", stray)
    assert [type(row) for row in others] == [RevenueRow] * 3
    assert [row.line for row in others] == [3, 4, 5]


def test_quotes_inside_a_line_are_taken_as_the_csv_module_takes_them(path: Path) -> None:
    lines = ['2026-07-01,"Acme" North,1,EUR', '2026-07-01,Acme "North",1,EUR', '2026-07-01,"Acme" ,1,EUR']
    found = rows_of(path, "\n".join([HEADER, *lines]))
    assert [row.entity for row in found if isinstance(row, RevenueRow)] == [
        "Acme North",
        'Acme "North"',
        "Acme",
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-02-30,Acme,1,USD", "bad date"),
        ("01/07/2026,Acme,1,USD", "bad date"),
        (",Acme,1,USD", "bad date"),
        ("2026-07-01,,1,USD", "no entity"),
        ("2026-07-01, \u00a0 ,1,USD", "no entity"),
        ("2026-07-01,Acme,1,usd", "bad currency"),
        ("2026-07-01,Acme,1,US", "bad currency"),
        ("2026-07-01,Acme,1,ÜSD", "bad currency"),
        ("2026-07-01,Acme,1", "wrong number of fields: 3, not 4"),
        ("2026-07-01,Acme,1,USD,", "wrong number of fields: 5, not 4"),
        ("2026-07-01,Acme\rNorth,1,USD", "stray carriage return"),
        (f"2026-07-01,Acme,{'1' * 31},USD", "bad amount: over 30 digits"),
        (f"2026-07-01,Acme,0.{'0' * 30},USD", "bad amount: over 30 digits"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason(path: Path, line: str, reason: str) -> None:
    assert reason_of(path, line) == reason


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "-",
        ".",
        "1e3",
        "1_000",
        '"1,000.00"',
        "1 000",
        "NaN",
        "Infinity",
        "-inf",
        "١٢",
        "\uff11",
        "--1",
        "+ 1",
        "$1",
    ],
)
def test_what_is_not_a_plain_number_is_a_bad_amount(path: Path, amount: str) -> None:
    assert reason_of(path, f"2026-07-01,Acme,{amount},USD") == "bad amount"


@pytest.mark.parametrize("amount", ["0", "+1.5", "-1.50", ".5", "5.", "007", "9" * 30])
def test_plain_numbers_are_kept_exactly(path: Path, amount: str) -> None:
    (row,) = rows_of(path, f"{HEADER}\n2026-07-01,Acme, {amount} ,USD")
    assert isinstance(row, RevenueRow)
    assert str(row.amount) == str(Decimal(amount))


@pytest.mark.parametrize("fill", ["x", "\u00e9", "x\u00e9"])
def test_a_row_over_the_limit_is_skipped_and_cut(path: Path, fill: str) -> None:
    long = f"2026-07-01,{fill * MAX_ROW_BYTES},1,USD"
    first, second = rows_of(path, f"{HEADER}\n{long}\n{GOOD}\n")
    size = len(long.encode()) + 1
    assert isinstance(first, SkippedRow)
    assert first.reason == f"row too long: {size} bytes, not {MAX_ROW_BYTES}"
    assert first.raw == f"{long[:CUT_CHARS]} [cut, {size} bytes in all]"
    assert (second.line, second.raw) == (3, GOOD)
    assert by_parts(path, 1) == [first, second]


def test_a_row_over_the_limit_may_end_the_file(path: Path) -> None:
    (row,) = rows_of(path, HEADER + "\n" + "x" * (3 * MAX_ROW_BYTES))
    assert isinstance(row, SkippedRow)


def test_a_row_over_the_limit_by_its_second_line(path: Path) -> None:
    half = "x" * (MAX_ROW_BYTES - 100)
    first, second = rows_of(path, f'{HEADER}\n2026-07-01,"{half}\n{half}",1,USD\n{GOOD}\n')
    assert isinstance(first, SkippedRow)
    assert first.reason.startswith("row too long: ")
    assert (second.line, second.raw) == (4, GOOD)


def test_a_quoted_field_has_a_limit_of_lines(path: Path) -> None:
    def first_row(lines: int) -> RevenueRow | SkippedRow:
        name = "A" + "x\n" * (lines - 1)
        return rows_of(path, f'{HEADER}\n2026-07-01,"{name}",1,USD\n{GOOD}\n')[0]

    assert isinstance(first_row(MAX_ROW_LINES), RevenueRow)
    assert first_row(MAX_ROW_LINES + 1) == SkippedRow(2, "unclosed quote", '2026-07-01,"Ax')


def test_a_stray_quote_on_every_line(path: Path) -> None:
    # Read as CSV, each of these lines closes the quote of the line before it and opens its own.
    line = '2026-07-01","Acme","1","USD'
    found = rows_of(path, f"{HEADER}\n" + f"{line}\n" * 300)
    assert found == [SkippedRow(number, "unclosed quote", line) for number in range(2, 302)]


def test_a_row_at_the_limit_is_read(path: Path) -> None:
    start, end = "2026-07-01,", ",1,USD\n"
    row = start + "x" * (MAX_ROW_BYTES - len(start + end)) + end
    assert isinstance(rows_of(path, f"{HEADER}\n{row}")[0], RevenueRow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give a file whose first line is date,entity,amount,currency"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"date,entity,sum\n", "has no column amount, currency; its header has: date, entity, sum. Make"),
        (b"date;entity;amount;currency\n", "has no column date, entity, amount, currency; .* with commas"),
        (b"date,entity,amount,currency,Date\n", "has more than one column date;"),
        (b'date,"entity,amount,currency\n', r"has a header that cannot be read \(unclosed quote\)"),
        (b"date,entity\ramount\n", r"has a header that cannot be read \(stray carriage return\)"),
        (b"x" * (MAX_ROW_BYTES + 1), r"has a header that cannot be read \(row too long"),
        (HEADER.encode() + b"\n", "has a header but no rows; give a file with at least one row"),
        (HEADER.encode() + b"\r\n\r\n", "has a header but no rows"),
        (HEADER.encode() + b"\nab\nc\xfcd\n", r"is not UTF-8: byte 0xfc at offset 32 \(line 3\); save it as"),
        (HEADER.encode() + b'\n"b\nc\xfcd"\n', r"is not UTF-8: byte 0xfc at offset 32 \(line 3\)"),
        (HEADER.encode() + b"\n\xed\xa0\x80\n", r"is not UTF-8: byte 0xed at offset 28 \(line 2\)"),
        (HEADER.encode("utf-16"), r"is not UTF-8|has a NUL byte"),
        (HEADER.encode() + b"\na\0b\n", r"has a NUL byte at offset 29 \(line 2\); save it as UTF-8 CSV text"),
    ],
)
def test_a_fault_of_the_file_says_what_is_wrong_and_what_to_do(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RevenueFileError, match=f"revenue.csv {message}"):
        split_into_parts(path)


def test_a_file_that_cannot_be_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RevenueFileError, match=r"cannot read .*revenue.csv: No such file or directory; give"):
        split_into_parts(path)
    with pytest.raises(RevenueFileError, match="Is a directory"):
        list(read_rows(tmp_path))


def test_parts_say_where_they_start(path: Path) -> None:
    rows_of(path, f"{HEADER}\n{GOOD}\n\n{GOOD}\n{GOOD}\n")
    parts = split_into_parts(path, 2)
    assert [(part.index, part.offset, part.line, part.rows) for part in parts] == [
        (0, 28, 2, 2),
        (1, 81, 5, 1),
    ]


def test_parts_and_rows_survive_json(path: Path) -> None:
    text = f"{HEADER}\n{GOOD}\nbad\n2026-07-01,É,-0.00,EUR\n"
    rows = rows_of(path, text)
    parts = split_into_parts(path, 2)
    assert [Part.from_json(json.loads(json.dumps(part.to_json()))) for part in parts] == parts
    assert [type(row).from_json(json.loads(json.dumps(row.to_json()))) for row in rows] == rows


def test_a_part_is_closed_early_when_its_text_is_long(path: Path) -> None:
    wide = f"2026-07-01,{'x' * 50_000},1,USD"
    rows = rows_of(path, "\n".join([HEADER, *[wide] * 23]))
    parts = split_into_parts(path)
    assert [part.rows for part in parts] == [5, 5, 5, 5, 3]
    assert all(later.offset - part.offset <= MAX_PART_BYTES for part, later in pairwise(parts))
    assert by_parts(path, MAX_PART_ROWS) == rows


@pytest.mark.parametrize("rows_per_part", [0, -1, MAX_PART_ROWS + 1])
def test_a_wrong_size_of_parts_is_refused(path: Path, rows_per_part: int) -> None:
    with pytest.raises(ValueError, match=f"rows_per_part is {rows_per_part}; give a number from 1 to 500"):
        split_into_parts(path, rows_per_part)


@pytest.mark.parametrize(
    "changed",
    [
        f"{HEADER}\n{GOOD}\n",
        f"{HEADER}\n{GOOD}\n{GOOD.replace('10', '11')}\n",
        f"{HEADER.upper()}\n{GOOD}\n{GOOD}\n",
        "",
    ],
)
def test_a_file_changed_after_planning_is_refused(path: Path, changed: str) -> None:
    rows_of(path, f"{HEADER}\n{GOOD}\n{GOOD}\n")
    part = split_into_parts(path, 2)[0]
    path.write_text(changed)
    with pytest.raises(RevenueFileError, match=r"has changed since its parts were planned|is empty"):
        read_part(path, part)


def test_memory_does_not_grow_with_the_file(path: Path) -> None:
    def peak(rows: int) -> int:
        with path.open("w") as file:
            file.write(f"{HEADER}\n")
            file.writelines(f"{GOOD}\n" for _ in range(rows))
            file.write("x" * (100 * rows))
        tracemalloc.start()
        split_into_parts(path)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1_000)
    assert peak(20_000) < peak(2_000) + 100_000


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
fields = st.one_of(names, st.dates().map(str), st.decimals(allow_nan=False).map(str), st.sampled_from(["USD", '"']))
good = st.tuples(
    st.dates().map(str),
    names,
    st.decimals(-(10**9), 10**9, places=2).map(str),
    st.sampled_from(["EUR", "USD", "XXX"]),
)
well_formed = st.lists(st.one_of(good, st.lists(fields, min_size=1, max_size=5)), min_size=1, max_size=30)
pieces = ["a", ",", '"', "\n", "\r\n", "\r", " ", "é", ',"', '",', "\n2026-07-01,Acme,1,EUR\n"]
broken = st.lists(st.sampled_from(pieces), max_size=60).map("".join)


@given(rows=well_formed, size=st.integers(1, 8), ending=st.sampled_from(["\n", "\r\n"]))
def test_any_split_gives_the_rows_of_one_read(rows: list[list[str]], size: int, ending: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=ending).writerows([HEADER.split(","), *rows])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "revenue.csv")
        found = rows_of(path, out.getvalue())
        assert not found or by_parts(path, size) == found


@given(text=broken, size=st.integers(1, 5))
def test_no_line_of_broken_text_is_lost(text: str, size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "revenue.csv")
        found = rows_of(path, f"{HEADER}\n{text}\n{GOOD}\n")
        assert by_parts(path, size) == found
    lines = dict(enumerate(text.split("\n"), start=2))
    last = found.pop()
    assert isinstance(last, RevenueRow)
    assert (last.raw, last.line) == (GOOD, len(lines) + 2)
    for row in found:
        for number, line in enumerate(row.raw.split("\n"), start=row.line):
            assert lines.pop(number).rstrip("\r") == line.rstrip("\r")
    assert "".join(lines.values()).strip() == ""


@given(rows=st.lists(good, min_size=1, max_size=20))
def test_good_rows_are_those_that_the_csv_module_reads(rows: list[tuple[str, ...]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([HEADER.split(","), *rows])
    with tempfile.TemporaryDirectory() as directory:
        found = rows_of(Path(directory, "revenue.csv"), out.getvalue())
    expected = [(day, name.strip(), Decimal(amount), code) for day, name, amount, code in rows if name.strip()]
    assert [
        (str(row.date), row.entity, row.amount, row.currency) for row in found if isinstance(row, RevenueRow)
    ] == expected
