"""pgvector: a table for each embedder's model, with its vectors, an HNSW index, and what filters and words need.

Rows refer to those of the memories, so that the database itself removes both together. The table is made by
``ctx migrate`` alone; where it is not, as without the extension, memories are searched in the process.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.exc import DBAPIError

from ctxqueue import effects as fx
from ctxqueue.stores.sql.memories import SqlMemories
from ctxqueue.stores.sql.schema import VECTORS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

MOST_IN_A_VECTOR, MOST_IN_A_HALF = 2_000, 4_000
"""Numbers that pgvector's HNSW indexes of a vector, and of one of half precision."""
LEAST_VERSION = (0, 8)
"""Of the extension: from then on an index is scanned on until enough has passed the filters."""
MOST_TERMS = 32
MOST_LOOKED_AT = 5_000
"""Rows that are weighed by their words: those with the query's rarest terms, and all of the very rarest."""


TABLE = (
    """
    CREATE TABLE IF NOT EXISTS {name} (
        namespace varchar(64), owner bytea, memory_id bytea, number bigint NOT NULL, at_us bigint NOT NULL,
        terms bigint[] NOT NULL, facets bigint[] NOT NULL, session bigint, sequence double precision,
        embedding {column},
        PRIMARY KEY (namespace, owner, memory_id),
        FOREIGN KEY (namespace, owner, memory_id) REFERENCES ctxqueue_memories ON DELETE CASCADE
    )
    """,
    "CREATE INDEX IF NOT EXISTS {name}_number ON {name} (namespace, owner, number)",
    "CREATE INDEX IF NOT EXISTS {name}_session ON {name} (namespace, owner, session, sequence)",
    "CREATE INDEX IF NOT EXISTS {name}_terms ON {name} USING gin (terms)",
    "CREATE INDEX IF NOT EXISTS {name}_facets ON {name} USING gin (facets)",
    "CREATE INDEX IF NOT EXISTS {name}_hnsw ON {name} USING hnsw (embedding {kind}_cosine_ops)",
)


def table_of(model: str) -> str:
    """Return the name of a model's table."""
    return VECTORS_PREFIX + hashlib.blake2b(model.encode(), digest_size=8).hexdigest()


def _column_of(dimension: int) -> str:
    return f"{'vector' if dimension <= MOST_IN_A_VECTOR else 'halfvec'}({dimension})"


def prepare(connection: Connection, model: str) -> str:
    """Make what a model's vectors need, if that may be; return "" or why memories are searched in the process."""
    if connection.dialect.name != "postgresql":
        return "pgvector is an extension of PostgreSQL"
    dimension = int(model.rpartition(":")[2])
    if dimension > MOST_IN_A_HALF:
        return f"pgvector indexes vectors of up to {MOST_IN_A_HALF} numbers, and {model} has more"
    there = "SELECT count(*) FROM {} WHERE {}='vector'"
    if not connection.execute(text(there.format("pg_extension", "extname"))).scalar():
        if not connection.execute(text(there.format("pg_available_extensions", "name"))).scalar():
            return "the server does not have the extension vector"
        try:
            with connection.begin_nested():
                connection.execute(text("CREATE EXTENSION vector"))
        except DBAPIError as error:
            return f"the extension vector cannot be created ({str(error.orig).splitlines()[0]})"
    version = str(connection.execute(text("SELECT extversion FROM pg_extension WHERE extname='vector'")).scalar())
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
        return f"pgvector {version} stops before enough has passed filters, 0.8 does not: ALTER EXTENSION vector UPDATE"
    name, column = table_of(model), _column_of(dimension)
    for statement in TABLE:
        named = statement.format(name=name, column=column, kind=column.partition("(")[0])
        connection.execute(text(named))
    connection.execute(text(f"COMMENT ON TABLE {name} IS 'vectors of {_quoted(model)}'"))
    return ""


def _quoted(name: str) -> str:
    return name.replace("'", "''").replace(":", "\\:")


class _Statements(NamedTuple):
    upto: TextClause
    standing: TextClause
    write: TextClause
    rows_with: TextClause
    few: TextClause
    nearest: TextClause
    worded: TextClause
    beside: TextClause


@lru_cache(maxsize=16)
def _statements_of(model: str) -> _Statements:
    name, kind = table_of(model), _column_of(int(model.rpartition(":")[2]))
    here = "v.namespace=:in_namespace AND v.owner=:of_owner"
    passing = (
        f"SELECT v.memory_id FROM {name} v JOIN ctxqueue_memories m USING (namespace, owner, memory_id)"  # noqa: S608 - a digest
        f" WHERE {here} AND NOT m.superseded AND (m.expires_us IS NULL OR m.expires_us > :now_us)"
        " AND m.kind = ANY(:kinds) AND v.facets @> CAST(:facets AS bigint[])"
        " AND v.at_us >= :since_us AND v.at_us < :until_us"
    )
    asked = "unnest(CAST(:terms AS bigint[]), CAST(:weights AS float8[])) q(t, w)"
    weight = f"(SELECT sum(q.w) FROM {asked} WHERE q.t=ANY(v.terms))"  # noqa: S608
    return _Statements(
        upto=text(f"SELECT coalesce(max(v.number), 0) FROM {name} v WHERE {here}"),  # noqa: S608
        standing=text(
            "SELECT m.memory_id FROM ctxqueue_memories m WHERE m.namespace=:in_namespace AND m.owner=:of_owner"
            " AND m.memory_id=ANY(:ids) ORDER BY m.memory_id FOR KEY SHARE"
        ),
        write=text(
            f"INSERT INTO {name} AS v VALUES (:in_namespace, :of_owner, :memory_id, :number, :at_us,"  # noqa: S608
            f" CAST(:terms AS bigint[]), CAST(:facets AS bigint[]), :session, :sequence, CAST(:embedding AS {kind}))"
            " ON CONFLICT (namespace, owner, memory_id) DO UPDATE SET number=excluded.number, at_us=excluded.at_us,"
            " terms=excluded.terms, facets=excluded.facets, session=excluded.session, sequence=excluded.sequence,"
            " embedding=excluded.embedding WHERE v.number < excluded.number"
        ),
        rows_with=text(
            f"SELECT q.n, (SELECT count(*) FROM {name} v WHERE v.terms @> ARRAY[q.t] AND {here})"  # noqa: S608
            " FROM unnest(CAST(:terms AS bigint[])) WITH ORDINALITY q(t, n)"
        ),
        few=text(f"{passing} LIMIT :rows"),
        nearest=text(f"{passing} ORDER BY v.embedding <=> CAST(:vector AS {kind}) LIMIT :rows"),
        worded=text(f"{passing} AND v.terms && CAST(:rarest AS bigint[]) ORDER BY {weight} DESC LIMIT :rows"),
        beside=text(
            f"SELECT DISTINCT n.memory_id FROM {name} v JOIN {name} n ON n.namespace=v.namespace AND n.owner=v.owner"  # noqa: S608
            " AND n.session=v.session AND n.sequence BETWEEN v.sequence - 2 AND v.sequence + 2"
            f" WHERE {here} AND v.memory_id=ANY(:ids)"
        ),
    )


class SqlNearest(SqlMemories):
    """What is asked of the index."""

    def index_standing(self, effect: fx.LoadIndex) -> int | None:
        """Return the number of an owner's last change, if there is an index."""
        owner = self.see_owner(effect.owner)
        if owner is None or owner.model != effect.model:
            return None
        if self._connection.execute(select(func.to_regclass(table_of(effect.model)))).scalar() is None:
            return None
        return owner.number

    def unindexed(self, effect: fx.LoadUnindexed) -> tuple[tuple[fx.StoredMemory, ...], bool]:
        """Return what has changed since: the index has each row by the number of its change, up to its highest."""
        rows = self._rows(_statements_of(effect.model).upto, of_owner=effect.owner.encode())
        found = self.rows_after(effect.owner, rows[0][0], effect.limit + 1)
        return tuple(found[: effect.limit]), len(found) > effect.limit

    def index_memories(self, effect: fx.IndexMemories) -> None:
        """Write rows of those memories that are there; they stay there until this has ended."""
        statements, owner = _statements_of(effect.model), effect.owner.encode()
        ids = [row.memory_id.encode() for row in effect.rows]
        there = {bytes(memory_id) for (memory_id,) in self._rows(statements.standing, of_owner=owner, ids=ids)}
        written = [
            {
                "of_owner": owner,
                "memory_id": memory_id,
                "number": row.number,
                "at_us": row.at_us,
                "terms": list(row.terms),
                "facets": list(row.facets),
                "session": row.session,
                "sequence": row.sequence,
                "embedding": _literal(row.vector) if row.vector else None,
            }
            for memory_id, row in zip(ids, effect.rows, strict=True)
            if memory_id in there
        ]
        self._change(statements.write, *written)

    def sampled(self, effect: fx.SampleMemories) -> fx.Sample:
        """Return some rows, and how many there are."""
        return fx.Sample(tuple(self.some_memories(effect.owner, effect.most)), self.count_memories(effect.owner))

    def candidates(self, effect: fx.FindCandidates) -> fx.Candidates:
        """Return the rows that may be among the best."""
        statements, owner, now = _statements_of(effect.model), effect.owner.encode(), self.now()
        terms = list(effect.terms[:MOST_TERMS])
        counted = dict(self._rows(statements.rows_with, of_owner=owner, terms=terms)) if terms else {}
        rows_with = [counted.get(nth, 0) for nth in range(1, len(terms) + 1)]
        filters: dict[str, Any] = {
            "of_owner": owner,
            "now_us": now,
            "kinds": list(effect.kinds),
            "facets": list(effect.facets),
            "since_us": -(2**63) if effect.since_us is None else effect.since_us,
            "until_us": 2**63 - 1 if effect.until_us is None else effect.until_us,
        }
        ids = self._ids(statements.few, filters, rows=effect.few + 1)
        complete = len(ids) <= effect.few
        if not complete:
            found = self._nearest(statements, filters, effect)
            there = sorted((rows, term) for term, rows in zip(terms, rows_with, strict=True) if rows)
            if there:
                weighed = {"terms": [term for _, term in there], "weights": _weights(there, effect.total)}
                found += self._ids(statements.worded, filters, rows=effect.most, rarest=_rarest(there), **weighed)
            found += self._ids(statements.beside, {"of_owner": owner, "ids": found})
            ids = list(dict.fromkeys(found))
        rows = self.memory_rows(effect.owner, [memory_id.decode() for memory_id in ids])
        return fx.Candidates(tuple(rows.values()), complete, tuple(rows_with), now)

    def _nearest(self, statements: _Statements, filters: dict[str, Any], effect: fx.FindCandidates) -> list[bytes]:
        asked = {"vector": _literal(effect.vector), "rows": effect.most}
        for name, value in (("hnsw.iterative_scan", "relaxed_order"), ("hnsw.ef_search", str(effect.most))):
            self._connection.execute(select(func.set_config(name, value, True)))  # noqa: FBT003 - for this transaction
        found = self._ids(statements.nearest, filters, **asked)
        if len(found) < effect.most:  # the filters leave too few near ones: the index gave up
            self._connection.execute(select(func.set_config("enable_indexscan", "off", True)))  # noqa: FBT003
            found = self._ids(statements.nearest, filters, **asked)
            self._connection.execute(select(func.set_config("enable_indexscan", "on", True)))  # noqa: FBT003
        return found

    def _ids(self, statement: TextClause, filters: dict[str, Any], **more: Any) -> list[bytes]:
        return [bytes(memory_id) for (memory_id,) in self._rows(statement, **filters, **more)]


def _rarest(there: Sequence[tuple[int, int]]) -> list[int]:
    """Return the terms that make a row a candidate, of (rows, term) from the rarest on."""
    looked_at = list(accumulate(rows for rows, _ in there))
    return [term for (_, term), rows in zip(there, looked_at, strict=True) if rows <= MOST_LOOKED_AT] or [there[0][1]]


def _weights(there: Sequence[tuple[int, int]], total: int) -> list[float]:
    return [math.log1p(max(0.0, (total - rows + 0.5) / (rows + 0.5))) for rows, _ in there]


def _literal(vector: bytes) -> str:
    return f"[{','.join(map(repr, memoryview(vector).cast('f').tolist()))}]"
