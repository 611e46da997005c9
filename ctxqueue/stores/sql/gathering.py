"""The writes of a usual commit as one statement, for PostgreSQL: a statement costs more there than what it writes.

All parts of it see what stood before it: so they write different rows, and what trims the values kept of an address
does not count the one that is added beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, String

from ctxqueue.stores.sql import writing
from ctxqueue.stores.sql.schema import Name, calls, due, entries, history, log, runs, workflows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Executable, Table

    from ctxqueue.stores.sql.writing import Statements

Write = tuple["Executable", list[dict[str, Any]]]

TYPES = {
    Boolean: "boolean",
    Integer: "integer",
    BigInteger: "bigint",
    String: "text",
    LargeBinary: "bytea",
    Name: "bytea",
}

HERE = "namespace = %(in_namespace)s AND workflow_id = %(in_workflow)s"
TRIM_LOG = f"DELETE FROM ctxqueue_log WHERE {HERE} AND revision <= %(until_revision)s"  # noqa: S608 - no input is in it
REMOVE = f"DELETE FROM ctxqueue_entries WHERE {HERE} AND address = ANY(%(removed)s::bytea[])"  # noqa: S608
TRIM_HISTORY = f"""
DELETE FROM ctxqueue_history USING (
    SELECT trimmed.address AS of_address, (
        SELECT version FROM ctxqueue_history WHERE {HERE} AND address = trimmed.address
        ORDER BY version DESC LIMIT 1 OFFSET %(most)s - 1
    ) AS last FROM unnest(%(trimmed)s::bytea[]) AS trimmed(address)
) AS ends
WHERE {HERE} AND address = ends.of_address AND version <= ends.last
"""  # noqa: S608


def gathered(writes: Sequence[Write], statements: Statements) -> tuple[str, dict[str, Any]] | None:
    """Return one statement for all of the writes, and its parameters; None if they are not those of a usual commit."""
    parts = tuple(statements.tables.get(statement, statement) for statement, _ in writes)
    if not parts or len(set(parts)) < len(parts) or not all(part in _CHANGES or part in UPSERTS for part in parts):
        return None
    parameters: dict[str, Any] = {}
    for part, (_, rows) in zip(parts, writes, strict=True):
        if part in _CHANGES:
            parameters.update(_CHANGES[part](rows))
        else:
            for name, column_type in UPSERTS[part][1]:
                values = [row[name] for row in rows]
                if column_type is Name:
                    values = [value.encode() for value in values]
                parameters[f"{part.name}_{name}"] = values
    return _text(parts), parameters


@lru_cache(maxsize=256)
def _text(parts: tuple[Any, ...]) -> str:
    texts = [_FRAGMENTS[part] if part in _FRAGMENTS else UPSERTS[part][0] for part in parts]
    named = ", ".join(f"part{number} AS ({text})" for number, text in enumerate(texts))
    return f"WITH {named} SELECT 1"


def _upsert(table: Table, *, sooner: bool = False) -> tuple[str, list[tuple[str, type[Any]]]]:
    """Return the part that writes rows of a table, given as an array a column, and its columns with their types."""
    columns = [(column.name, type(column.type)) for column in table.c]
    arrays = ", ".join(f"%({table.name}_{name})s::{TYPES[kind]}[]" for name, kind in columns)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    key = ", ".join(f'"{column.name}"' for column in table.primary_key)
    rest = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in table.c if not column.primary_key)
    if sooner:
        rest = f"due_us = LEAST(excluded.due_us, {table.name}.due_us)"
    text = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT ({key}) DO UPDATE SET {rest}"  # noqa: S608
    return text, columns


UPSERTS: dict[Any, tuple[str, list[tuple[str, type[Any]]]]] = {
    table: _upsert(table, sooner=table is due) for table in (workflows, entries, log, history, runs, calls, due)
}
_FRAGMENTS: dict[Any, str] = {
    writing.TRIM_LOG: TRIM_LOG,
    writing.TRIM_HISTORY: TRIM_HISTORY,
    writing.REMOVE: REMOVE,
}


def _place(row: dict[str, Any]) -> dict[str, Any]:
    return {"in_namespace": row["in_namespace"], "in_workflow": row["workflow_id"].encode()}


_CHANGES: dict[Any, Any] = {
    writing.TRIM_LOG: lambda rows: {**_place(rows[0]), "until_revision": rows[0]["until_revision"]},
    writing.REMOVE: lambda rows: {
        **_place(rows[0]),
        "removed": [address.encode() for address in rows[0]["addresses"]],
    },
    writing.TRIM_HISTORY: lambda rows: {
        **_place(rows[0]),
        "most": rows[0]["most"],
        "trimmed": [row["at_address"].encode() for row in rows],
    },
}
