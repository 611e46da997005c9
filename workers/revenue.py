"""Revenue rows from a CSV file with the columns `date,entity,amount,currency`.

A file is read in two steps, so that many tasks can share the work: `split_into_parts` passes over it once and
says where each part starts, `read_part` reads one part and nothing else. Both take the file record by record,
so memory depends on the limits below and not on the size of the file.

What is wrong with the file as a whole raises `RevenueFileError`. What is wrong with one row makes that row a
`SkippedRow`, and the others go on.
"""

import codecs
import csv
import datetime as dt
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Self

COLUMNS = ("date", "entity", "amount", "currency")
MAX_PART_ROWS = 500
MAX_PART_BYTES = 256 * 1024
MAX_ROW_BYTES = 64 * 1024
MAX_ROW_LINES = 100
MAX_AMOUNT_DIGITS = 30
CUT_CHARS = 1_000

_AMOUNT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_CURRENCY = re.compile(r"[A-Z]{3}")
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class RevenueFileError(ValueError):
    """The file as a whole cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """A good row; `line` is the physical line, from 1, on which it starts, and `raw` its text in the file."""

    line: int
    date: dt.date
    entity: str
    amount: Decimal
    currency: str
    raw: str

    def to_json(self) -> list[Any]:
        """Give the row as a list of one integer and five strings."""
        return [self.line, self.date.isoformat(), self.entity, str(self.amount), self.currency, self.raw]

    @classmethod
    def from_json(cls, item: Sequence[Any]) -> Self:
        """Rebuild a row from what `to_json` gave."""
        line, date, entity, amount, currency, raw = item
        return cls(line, dt.date.fromisoformat(date), entity, Decimal(amount), currency, raw)


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that was left out; `reason` is a stable phrase, with a colon and a detail where that helps."""

    line: int
    reason: str
    raw: str

    def to_json(self) -> list[Any]:
        """Give the row as a list of one integer and two strings."""
        return [self.line, self.reason, self.raw]

    @classmethod
    def from_json(cls, item: Sequence[Any]) -> Self:
        """Rebuild a row from what `to_json` gave."""
        line, reason, raw = item
        return cls(line, reason, raw)


@dataclass(frozen=True, slots=True)
class Part:
    """A run of rows that one task reads: `rows` of them from byte `offset` on, the start of line `line`.

    `rows` counts bad rows too, but not blank lines. By `checksum` `read_part` sees that the file was changed.
    """

    index: int
    offset: int
    line: int
    rows: int
    checksum: int

    def to_json(self) -> dict[str, int]:
        """Give the part as a mapping from field name to integer."""
        return asdict(self)

    @classmethod
    def from_json(cls, item: Mapping[str, int]) -> Self:
        """Rebuild a part from what `to_json` gave."""
        return cls(**item)


def read_rows(path: str | PathLike[str]) -> Iterator[RevenueRow | SkippedRow]:
    """Yield every row of the file in its order; raises `RevenueFileError`, where the fault is met."""
    with _opened(path) as file:
        header = _read_header(file)
        for record in _records(file, header.end, header.next_line):
            yield _parse(record, header)


def split_into_parts(path: str | PathLike[str], rows_per_part: int = MAX_PART_ROWS) -> list[Part]:
    """Plan the parts of a file: at most `rows_per_part` rows and `MAX_PART_BYTES` bytes each.

    The whole file is looked through first, so no part is given out of a file that is bad further down. Raises
    `RevenueFileError`, and `ValueError` if `rows_per_part` is not from 1 to `MAX_PART_ROWS`.
    """
    if not 1 <= rows_per_part <= MAX_PART_ROWS:
        raise ValueError(f"rows_per_part is {rows_per_part}; give a number from 1 to {MAX_PART_ROWS}")
    with _opened(path) as file:
        header = _read_header(file)
        groups = _grouped(_records(file, header.end, header.next_line), rows_per_part)
        parts = [
            Part(index, group[0].offset, group[0].line, len(group), _checksum(header, group))
            for index, group in enumerate(groups)
        ]
    if not parts:
        raise RevenueFileError(f"{path} has a header but no rows; give a file with at least one row below the header")
    return parts


def read_part(path: str | PathLike[str], part: Part) -> tuple[list[RevenueRow], list[SkippedRow]]:
    """Read the good and the skipped rows of one part, each in the order of the file.

    Raises `RevenueFileError`, also if the file is no longer the one that the part was planned on.
    """
    with _opened(path) as file:
        header = _read_header(file)
        records = list(islice(_records(file, part.offset, part.line), part.rows))
    if len(records) != part.rows or _checksum(header, records) != part.checksum:
        raise RevenueFileError(
            f"{path} has changed since its parts were planned (line {part.line} on); start a new run"
        )
    parsed = [_parse(record, header) for record in records]
    good = [row for row in parsed if isinstance(row, RevenueRow)]
    skipped = [row for row in parsed if isinstance(row, SkippedRow)]
    return good, skipped


@dataclass(frozen=True, slots=True)
class _Record:
    """One CSV record; `offset` and `end` are bytes in the file, `text` has no line ending."""

    offset: int
    end: int
    line: int
    next_line: int
    text: str
    fields: list[str]
    fault: str


@dataclass(frozen=True, slots=True)
class _Header:
    """Where the four columns stand among `width` fields, and where the header ends."""

    text: str
    positions: tuple[int, ...]
    width: int
    end: int
    next_line: int


class _RowError(ValueError):
    """A row is bad; the message is the reason."""


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise RevenueFileError(
            f"cannot read {path}: {error.strerror or error}; give the path of a readable CSV file"
        ) from error


def _read_header(file: BinaryIO) -> _Header:
    start = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    record = next(_records(file, start, 1), None)
    if record is None:
        raise RevenueFileError(f"{file.name} is empty; give a file whose first line is {','.join(COLUMNS)}")
    if record.fault:
        raise RevenueFileError(
            f"{file.name} has a header that cannot be read ({record.fault}); make it {','.join(COLUMNS)}"
        )
    names = [field.strip().lower() for field in record.fields]
    _check_columns(names, file.name)
    positions = tuple(names.index(column) for column in COLUMNS)
    return _Header(record.text, positions, len(names), record.end, record.next_line)


def _check_columns(names: list[str], path: str) -> None:
    found = ", ".join(names)[:CUT_CHARS]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise RevenueFileError(
            f"{path} has no column {', '.join(missing)}; its header has: {found}. "
            f"Make the first line name {','.join(COLUMNS)}, with commas between them"
        )
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if twice:
        raise RevenueFileError(
            f"{path} has more than one column {', '.join(twice)}; its header has: {found}. Keep one of each"
        )


def _records(file: BinaryIO, offset: int, line: int) -> Iterator[_Record]:
    """Yield the records from a byte offset on, without blank lines."""
    while (record := _read_record(file, offset, line)) is not None:
        if record.text.strip():
            yield record
        offset, line = record.end, record.next_line


def _read_record(file: BinaryIO, offset: int, line: int) -> _Record | None:
    """Read the record that starts at a byte offset; None at the end of the file.

    A quoted field may go over several lines. Where the quoting does not work out within `MAX_ROW_LINES` and
    `MAX_ROW_BYTES`, the record is its first line alone: a stray quote must not swallow the rows after it, and
    a file in which every line has one must not take time that grows with its square.
    """
    file.seek(offset)
    first = file.readline(MAX_ROW_BYTES + 1)
    if not first:
        return None
    taken = [_decoded(first, file.name, offset, line)]
    if len(first) > MAX_ROW_BYTES:
        _pass_over_line(file, first)
        return _overlong(taken[0], offset, file.tell(), line, line + 1)

    def lines() -> Iterator[str]:
        yield taken[0]
        while len(taken) < MAX_ROW_LINES and (start := file.tell()) - offset <= MAX_ROW_BYTES:
            data = file.readline(MAX_ROW_BYTES + 1)
            if not data:
                return
            taken.append(_decoded(data, file.name, start, line + len(taken)))
            yield taken[-1]

    try:
        fields = next(csv.reader(lines(), strict=True))
    except csv.Error:
        fields, fault = _parse_alone(taken[0])
        text = _without_ending(taken[0])
        return _Record(offset, offset + len(first), line, line + 1, text, fields, fault)
    end, text = file.tell(), "".join(taken)
    if end - offset > MAX_ROW_BYTES:
        return _overlong(text, offset, end, line, line + len(taken))
    return _Record(offset, end, line, line + len(taken), _without_ending(text), fields, "")


def _pass_over_line(file: BinaryIO, data: bytes) -> None:
    while data and not data.endswith(b"\n"):
        data = file.readline(MAX_ROW_BYTES)


def _overlong(text: str, offset: int, end: int, line: int, next_line: int) -> _Record:
    size = end - offset
    cut = f"{text[:CUT_CHARS]} [cut, {size} bytes in all]"
    return _Record(offset, end, line, next_line, cut, [], f"row too long: {size} bytes, not {MAX_ROW_BYTES}")


def _parse_alone(text: str) -> tuple[list[str], str]:
    """Parse one line as leniently as the csv module does by default: its fields, and its fault if any."""
    # The empty second line is asked for only by a quote that is still open at the end of the first.
    reader = csv.reader([text, ""])
    try:
        fields = next(reader)
    except csv.Error:
        return [], "stray carriage return"
    return fields, "" if reader.line_num == 1 else "unclosed quote"


def _without_ending(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _decoded(data: bytes, path: str, offset: int, line: int) -> str:
    """Decode a line, or the start of an overlong one, where the last character may be cut."""
    nul = data.find(b"\0")
    if nul >= 0:
        raise RevenueFileError(
            f"{path} has a NUL byte at offset {offset + nul} (line {line}); save it as UTF-8 CSV text"
        )
    try:
        return _Utf8Decoder().decode(data, final=len(data) <= MAX_ROW_BYTES)
    except UnicodeDecodeError as error:
        byte, at = data[error.start], offset + error.start
        raise RevenueFileError(
            f"{path} is not UTF-8: byte 0x{byte:02x} at offset {at} (line {line}); save it as UTF-8 CSV text"
        ) from error


def _grouped(records: Iterable[_Record], rows: int) -> Iterator[list[_Record]]:
    group: list[_Record] = []
    for record in records:
        if group and (len(group) == rows or record.end - group[0].offset > MAX_PART_BYTES):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _checksum(header: _Header, records: Iterable[_Record]) -> int:
    return zlib.crc32("\n".join([header.text, *(record.text for record in records)]).encode())


def _parse(record: _Record, header: _Header) -> RevenueRow | SkippedRow:
    try:
        date, entity, amount, currency = _fields(record, header)
        return RevenueRow(record.line, _date(date), _entity(entity), _amount(amount), _currency(currency), record.text)
    except _RowError as error:
        return SkippedRow(record.line, str(error), record.text)


def _fields(record: _Record, header: _Header) -> list[str]:
    if record.fault:
        raise _RowError(record.fault)
    if len(record.fields) != header.width:
        raise _RowError(f"wrong number of fields: {len(record.fields)}, not {header.width}")
    return [record.fields[position].strip() for position in header.positions]


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise _RowError("bad date") from error


def _entity(text: str) -> str:
    if not text:
        raise _RowError("no entity")
    return text


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise _RowError("bad amount")
    if sum(char.isdigit() for char in text) > MAX_AMOUNT_DIGITS:
        raise _RowError(f"bad amount: over {MAX_AMOUNT_DIGITS} digits")
    return Decimal(text)


def _currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise _RowError("bad currency")
    return text
