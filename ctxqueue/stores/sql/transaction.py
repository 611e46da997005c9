"""One transaction: it reads at once, and writes all at its end, in few statements."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, cast, func, select

from ctxqueue.stores.sql.pipelining import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Executable

    from ctxqueue.stores.sql.writing import Statements


class Transaction:
    """Statements of one namespace, over a connection that has no transaction yet; `commit` ends it."""

    def __init__(self, connection: Connection, namespace: str, statements: Statements) -> None:
        self._connection = connection
        self._namespace = namespace
        self._statements = statements
        self._dialect = connection.dialect.name
        self._writes: list[tuple[Executable, list[dict[str, Any]]]] = []
        self.called: list[str] = []
        """The names by which somebody is to be woken, once it is committed."""

    def now(self) -> int:
        """Return the database's clock; SQLite's is this machine's."""
        if self._dialect == "sqlite":
            return time.time_ns() // 1_000
        clock = cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
        return int(self._connection.execute(select(clock)).scalar_one())

    def _rows(self, statement: Executable, **parameters: Any) -> Sequence[Any]:
        return self._connection.execute(statement, self._here(parameters)).fetchall()

    def _here(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Name namespace and workflow as statements do that are no insert: see `looking.NAMESPACE`."""
        named = {"in_namespace": self._namespace, **parameters}
        if "workflow_id" in named:
            named["in_workflow"] = named.pop("workflow_id")
        return named

    def _put(self, statement: Executable, rows: Iterable[dict[str, Any]]) -> None:
        written = [{"namespace": self._namespace, **row} for row in rows]
        if written:
            self._writes.append((statement, written))

    def _change(self, statement: Executable, *rows: dict[str, Any]) -> None:
        if rows:
            self._writes.append((statement, [self._here(row) for row in rows]))

    def commit(self) -> None:
        """Carry out the writes, in their order, and end the transaction."""
        with together(self._connection):
            for statement, rows in self._writes:
                self._connection.execute(statement, rows[0] if len(rows) == 1 else rows)
            self._connection.commit()
