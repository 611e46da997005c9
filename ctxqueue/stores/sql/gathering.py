"""The writes of a usual commit as one statement, for PostgreSQL: a statement costs more there than what it writes.

It begins with the workflow's own row, which must stand as it was seen, and nothing is written unless it does: so the
commit needs no lock beforehand. All parts see what stood before the statement: so they write different rows, and what
trims the values kept of an address does not count the one that is added beside it.

The driver keeps what it has parsed of a statement of up to 4,096 characters and 50 parameters, so the names are short.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, String

from ctxqueue.stores.sql import writing
from ctxqueue.stores.sql.schema import Name, calls, due, entries, history, log, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Executable, Table

    from ctxqueue.stores.engine.held import Workflow
    from ctxqueue.stores.sql.writing import Statements

Rows = list[dict[str, Any]]

TYPES = {Boolean: "boolean", Integer: "int", BigInteger: "bigint", String: "text", LargeBinary: "bytea", Name: "bytea"}

HERE = "namespace=%(n)s AND workflow_id=%(w)s"
SAVED = "EXISTS(SELECT FROM s)"
TRIM_LOG = f"DELETE FROM ctxqueue_log WHERE {HERE} AND revision<=%(u)s AND {SAVED}"  # noqa: S608 - all of it is ours
REMOVE = f"DELETE FROM ctxqueue_entries WHERE {HERE} AND address=ANY(%(x)s::bytea[]) AND {SAVED}"  # noqa: S608
_NEWEST = f"SELECT h.version FROM ctxqueue_history AS h WHERE h.{HERE.replace(' AND ', ' AND h.')} AND h.address="  # noqa: S608
_BEYOND = "ORDER BY h.version DESC LIMIT 1 OFFSET %(m)s-1)"
# The addresses stand in the condition on the rows, too: a join would be planned as a walk through all kept values.
TRIM_HISTORY = {
    several: f"DELETE FROM ctxqueue_history WHERE {HERE} AND {SAVED} AND address={given}"  # noqa: S608
    f" AND version<=({_NEWEST}{own} {_BEYOND}"
    for several, given, own in (
        (False, "%(t)s", "%(t)s"),
        (True, "ANY(%(t)s::bytea[])", "ctxqueue_history.address"),
    )
}
GUARDED = ("incarnation", "revision", "commit_id", "size", "parked", "closed_us", "removing", "graph", "watched")
"""What tells whether a workflow stands as it was seen: every commit has another id, and what changes without one is
here, but for its inbox."""
SAVED_COLUMNS = tuple(name for name in writing.CHANGING if name != "inbox")
"""An update that is stored in between, or a drain that comes, changes the inbox alone: it stays as it is then."""
SAVE = (
    f"UPDATE ctxqueue_workflows SET {','.join(f'{name}=%(w{at})s' for at, name in enumerate(SAVED_COLUMNS))}"  # noqa: S608
    f" WHERE {HERE} AND {' AND '.join(f'{name}=%(g{at})s' for at, name in enumerate(GUARDED))} RETURNING 1"
)


class Upsert:
    """The part that writes rows of one table: one row as it is, several as an array a column."""

    def __init__(self, table: Table, short: str) -> None:
        shared = {"namespace": "%(n)s", "workflow_id": "%(w)s"}
        self._columns = [
            (column.name, type(column.type), f"{short}{at}")
            for at, column in enumerate(table.c)
            if column.name not in shared
        ]
        names = ",".join([*shared, *(name for name, _, _ in self._columns)])
        key = ",".join(column.name for column in table.primary_key)
        rest = ",".join(f"{column.name}=excluded.{column.name}" for column in table.c if not column.primary_key)
        if table is due:
            rest = f"due_us=LEAST(excluded.due_us,{table.name}.due_us)"
        one = ",".join(f"%({short})s::{TYPES[kind]}" for _, kind, short in self._columns)
        arrays = ",".join(f"%({short})s::{TYPES[kind]}[]" for _, kind, short in self._columns)
        begin = f"INSERT INTO {table.name} ({names}) SELECT %(n)s,%(w)s::bytea,"
        end = f" WHERE {SAVED} ON CONFLICT ({key}) DO UPDATE SET {rest}"
        self.texts = {False: f"{begin}{one}{end}", True: f"{begin}t.* FROM unnest({arrays}) AS t{end}"}
        """By whether there are several."""

    def parameters(self, rows: Rows) -> dict[str, Any]:
        """Return the values of rows."""
        found: dict[str, Any] = {}
        for name, kind, short in self._columns:
            values = [row[name].encode() for row in rows] if kind is Name else [row[name] for row in rows]
            found[short] = values if len(rows) > 1 else values[0]
        return found


UPSERTS: dict[Any, Upsert] = {
    table: Upsert(table, short)
    for table, short in ((entries, "e"), (history, "h"), (log, "l"), (runs, "r"), (calls, "c"), (due, "d"))
}

CHANGES: dict[Any, tuple[dict[bool, str], Callable[[Rows], dict[str, Any]]]] = {
    writing.TRIM_LOG: ({False: TRIM_LOG}, lambda rows: {"u": rows[0]["until_revision"]}),
    writing.REMOVE: ({False: REMOVE}, lambda rows: {"x": [address.encode() for address in rows[0]["addresses"]]}),
    writing.TRIM_HISTORY: (
        TRIM_HISTORY,
        lambda rows: {
            "m": rows[0]["most"],
            "t": [row["at_address"].encode() for row in rows] if len(rows) > 1 else rows[0]["at_address"].encode(),
        },
    ),
}


def guard_of(workflow: Workflow) -> tuple[Any, ...]:
    """Return what must still stand."""
    return tuple(getattr(workflow, name) for name in GUARDED)


def gathered(
    namespace: str, writes: Sequence[tuple[Executable, Rows]], statements: Statements, guard: tuple[Any, ...]
) -> tuple[str, dict[str, Any]] | None:
    """Return one statement for all of the writes, and its parameters; None if they are not those of a usual commit.

    A usual commit is of one workflow, and writes to each table once. The statement's row says whether it was done.
    """
    parts = [statements.tables.get(statement, statement) for statement, _ in writes]
    if writing.SAVE not in parts or len(set(parts)) < len(parts):
        return None
    (saved,) = writes[parts.index(writing.SAVE)][1]
    parameters: dict[str, Any] = {"n": namespace, "w": saved["in_workflow"].encode()}
    parameters.update((f"w{at}", saved[f"new_{name}"]) for at, name in enumerate(SAVED_COLUMNS))
    parameters.update((f"g{at}", value) for at, value in enumerate(guard))
    texts: list[tuple[Any, bool]] = []
    for part, (_, rows) in zip(parts, writes, strict=True):
        if part in UPSERTS:
            parameters.update(UPSERTS[part].parameters(rows))
            texts.append((part, len(rows) > 1))
        elif part in CHANGES:
            parameters.update(CHANGES[part][1](rows))
            texts.append((part, len(rows) > 1))
        elif part is not writing.SAVE:
            return None
    return _text(tuple(texts)), parameters


@lru_cache(maxsize=256)
def _text(parts: tuple[tuple[Any, bool], ...]) -> str:
    texts = [UPSERTS[part].texts[several] if part in UPSERTS else CHANGES[part][0][several] for part, several in parts]
    named = "".join(f",p{number} AS ({text})" for number, text in enumerate(texts))
    return f"WITH s AS ({SAVE}){named} SELECT count(*) FROM s"  # noqa: S608
