"""How commands show what they found: lines and tables for people, JSON for scripts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from itertools import chain, islice
from typing import Any

import click
import msgspec

from ctxqueue.models import ContextEntry, Secret

REDACTED = "<redacted>"
VALUE_WIDTH = 200
"""Characters of a value in a table; --json has all."""
ROWS_AHEAD = 100
"""Rows that a table's columns are measured by: the others follow as they come."""


def colours() -> bool:
    """Whether to use any: neither in a pipe, nor with celery's --no-color or NO_COLOR."""
    context = click.get_current_context(silent=True)
    wanted = not getattr(context.obj if context else None, "no_color", False)
    return wanted and sys.stdout.isatty()


def styled(text: str, **style: Any) -> str:
    """Return a text in colour, or plain."""
    return click.style(text, **style) if colours() else text


def say(text: str = "") -> None:
    """Write a line."""
    click.echo(text, color=colours())


def as_json(value: Any) -> str:
    """Return a value as one line of JSON; what JSON has no form for, as its text. No `Secret` is ever in clear."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    for kind, plain in PLAIN:
        if isinstance(value, kind):
            return plain(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def plain(value: Any) -> dict[str, Any]:
    """Return the fields of a result."""
    fields: dict[str, Any] = _plain(value)
    return fields


def entry_fields(entry: ContextEntry) -> dict[str, Any]:
    """Return what is known of an entry."""
    return entry.to_dict() | {
        "owner": entry.owner,
        "created_by": entry.created_by,
        "revision": entry.revision,
        "pinned": entry.pinned,
        "sensitive": entry.sensitive,
    }


PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Secret, lambda _secret: REDACTED),
    (ContextEntry, entry_fields),
    (msgspec.Struct, msgspec.structs.asdict),
    (Enum, lambda member: member.value),
    (date, lambda at: at.isoformat()),
    (timedelta, lambda span: span.total_seconds()),
    (bytes, lambda data: f"<{len(data)} bytes>"),
    ((set, frozenset), lambda items: sorted(items, key=str)),
    (Mapping, dict),
)
CELLS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (str, str),
    (bool, lambda truth: "yes" if truth else "no"),
    (datetime, lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")),
    (float, lambda number: f"{number:.3g}" if abs(number) < 1_000 else f"{number:,.0f}"),  # noqa: PLR2004 - 3 digits
    (Enum, lambda member: str(member.value)),
)


def rows_out(rows: Iterable[Mapping[str, Any]], *, as_json: bool, empty: str = "none", limit: int | None = None) -> int:
    """Write rows as they come, as a table or as lines of JSON; return how many there were."""
    rows = islice(rows, limit)
    if as_json:
        count = 0
        for row in rows:
            click.echo(_line(row))
            count += 1
        return count
    return _table(iter(rows), empty)


def line_out(row: Mapping[str, Any]) -> None:
    """Write one line of JSON."""
    click.echo(_line(row))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), default=_plain, ensure_ascii=False)


def _table(rows: Iterator[Mapping[str, Any]], empty: str) -> int:
    ahead = list(islice(rows, ROWS_AHEAD))
    if not ahead:
        say(styled(empty, dim=True))
        return 0
    names = list(ahead[0])
    widths = [max(len(name), *(len(table_cell(row[name])) for row in ahead)) for name in names]
    if sys.stdout.isatty():  # the last column has what room is left
        room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
        widths[-1] = max(len(names[-1]), min(widths[-1], room))
    say(styled(_columns([name.replace("_", " ") for name in names], widths), bold=True))
    count = 0
    for row in chain(ahead, rows):
        cells = [table_cell(row[name]) for name in names]
        if sys.stdout.isatty() and len(cells[-1]) > widths[-1]:
            cells[-1] = cells[-1][: max(widths[-1] - 1, 1)] + "…"
        say(_columns(cells, widths))
        count += 1
    return count


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    *first, last = zip(cells, widths, strict=True)
    return "  ".join([*(text.ljust(width) for text, width in first), last[0]]).rstrip()


UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def table_cell(value: Any) -> str:
    """Return one field of a table: of an instant how long ago it was, or how long until it is."""
    if not isinstance(value, datetime):
        return cell(value)
    seconds = int((datetime.now(UTC) - value).total_seconds())
    length, unit = next((each for each in UNITS if abs(seconds) >= each[0]), UNITS[-1])
    return f"{abs(seconds) // length}{unit}" if seconds >= 0 else f"in {abs(seconds) // length}{unit}"


def cell(value: Any) -> str:
    """Return one field of a table on one line."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value)) or "-"
    for kind, text in CELLS:
        if isinstance(value, kind):
            return printable(text(value))
    return printable(as_json(value))


def printable(text: str) -> str:
    """Return text that cannot move the cursor, nor begin another line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def short(value: Any) -> str:
    """Return a value for a table: its JSON, of which the beginning."""
    text = as_json(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[:VALUE_WIDTH]}…"


def in_full(value: Any) -> str:
    """Return a value for a person, or a script: all of its JSON."""
    return json.dumps(value, default=_plain, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)


def fields_out(fields: Mapping[str, Any]) -> None:
    """Write one thing's fields, a line each."""
    width = max(map(len, fields))
    for name, value in fields.items():
        say(f"{styled(name.replace('_', ' ').ljust(width), bold=True)}  {cell(value)}")


def one_out(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Write one thing."""
    if as_json:
        click.echo(_line(fields))
    else:
        fields_out(fields)
