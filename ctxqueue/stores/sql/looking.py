"""The statements that read a workflow: one statement, so one moment, however much is looked at.

Each kind of row is one branch of a union; `Row` has the columns that they share.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, Integer, LargeBinary, String, bindparam, cast, func, literal, null, select, union_all

from ctxqueue.stores.engine.held import Held, Journaled, Workflow
from ctxqueue.stores.sql import packing
from ctxqueue.stores.sql.schema import Name, calls, entries, ready, runs, workflows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, CompoundSelect, Select, Table

NAMESPACE = bindparam("in_namespace", type_=String)
"""Not by its column's name, which an update keeps for itself; likewise elsewhere."""
WORKFLOW = bindparam("in_workflow", type_=Name)

_EXPIRY_AND_FLAG = func.coalesce(entries.c.expires_us, 0) * 2 + cast(entries.c.sensitive, Integer)
"""When an entry expires (0: never), doubled, and one more if it is sensitive: there is one column for both."""

HELD = "ctxqueue.held"
"""A setting of PostgreSQL's, for one transaction: the incarnation of the workflow whose row it has locked."""

HEAD = tuple(column for column in workflows.c if not column.primary_key)
"""In the order of `Workflow`'s fields, which begin with the workflow's id."""


def here(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row belongs to the workflow."""
    return (table.c.namespace == NAMESPACE) & (table.c.workflow_id == WORKFLOW)


STANDS = select(
    select(workflows.c.revision)
    .where(
        here(workflows), workflows.c.revision == bindparam("at_revision", type_=BigInteger), workflows.c.closed_us == 0
    )
    .exists()
)
"""Whether a workflow stands at a revision and is open."""


class Look(NamedTuple):
    """What is looked at beside the workflow and the clock."""

    records: bool = False
    present: bool = False
    run: bool = False
    ready: bool = False
    call: bool = False
    held: bool = False
    """Whether the row was locked; of use on PostgreSQL only."""


def _branch(kind: str, key: Any = None, number: Any = None, body: Any = None, head: Sequence[Any] = ()) -> Select[Any]:
    """Return a branch of the union; what it does not have is null."""
    given = (key, number, body)
    return select(
        literal(kind, String).label("kind"),
        *(null() if column is None else column for column in given),
        *(head or (null() for _ in HEAD)),
    )


def _clock(dialect: str) -> Select[Any]:
    """Return the first branch: the database's clock, and the names and types of all columns."""
    clock: Any = literal(0)
    if dialect == "postgresql":
        clock = func.extract("epoch", func.clock_timestamp()) * 1_000_000
    return select(
        literal("clock", String).label("kind"),
        cast(null(), Name).label("key"),
        cast(clock, BigInteger).label("number"),
        cast(null(), LargeBinary).label("body"),
        *(cast(null(), column.type).label(column.name) for column in HEAD),
    )


def _first_branches(dialect: str) -> list[Select[Any]]:
    return [_clock(dialect), _branch("head", head=HEAD).where(here(workflows))]


@lru_cache
def statement(dialect: str, look: Look) -> CompoundSelect[Any]:
    """Return the statement that looks at a workflow."""
    branches = _first_branches(dialect)
    if look.records:
        addresses = bindparam("addresses", expanding=True, type_=Name)
        branches.append(
            _branch("record", entries.c.address, body=entries.c.record).where(
                here(entries), entries.c.address.in_(addresses)
            )
        )
    if look.present:
        asked = bindparam("present", expanding=True, type_=Name)
        branches.append(
            _branch("present", entries.c.address, _EXPIRY_AND_FLAG).where(here(entries), entries.c.address.in_(asked))
        )
    if look.run:
        branches.append(
            _branch("run", number=runs.c.ends_us, body=runs.c.run).where(
                here(runs), runs.c.run_id == bindparam("run_id", type_=Name)
            )
        )
    if look.ready:
        branches.append(
            _branch("ready", body=ready.c.ready).where(here(ready), ready.c.run_id == bindparam("run_id", type_=Name))
        )
    if look.call:
        place = (calls.c.owner == bindparam("owner", type_=Name)) & (
            calls.c.call_id == bindparam("call_id", type_=Name)
        )
        branches.append(_branch("answer", number=calls.c.number, body=calls.c.answer).where(here(calls), place))
        branches.append(_branch("ends", number=calls.c.ends_us).where(here(calls), place))
    if look.held:
        incarnation = func.coalesce(func.current_setting(HELD, True), "")  # noqa: FBT003 - SQL's; if there is one
        branches.append(_branch("held", body=func.convert_to(incarnation, "UTF8")))
    return union_all(*branches)


@lru_cache
def page(dialect: str, *, goes_on: bool) -> CompoundSelect[Any]:
    """Return the statement that reads a page: records up to a limit, but few more bytes than asked for."""
    first = bindparam("first", type_=Name)
    in_reach = (
        select(entries.c.address, entries.c.size)
        .where(
            here(entries),
            entries.c.address > first if goes_on else entries.c.address >= first,
            # Every continuation of the prefix sorts before the prefix followed by a byte that no UTF-8 text has.
            entries.c.address < bindparam("end", type_=LargeBinary),
        )
        .order_by(entries.c.address)
        .limit(bindparam("rows", type_=Integer))
        .subquery()
    )
    before = func.sum(in_reach.c.size).over(order_by=in_reach.c.address) - in_reach.c.size
    measured = select(in_reach.c.address, before.label("before")).subquery()
    affordable = select(measured.c.address).where(measured.c.before <= bindparam("bytes", type_=Integer))
    records = _branch("record", entries.c.address, body=entries.c.record).where(
        here(entries), entries.c.address.in_(affordable)
    )
    reached = _branch("reached", number=func.count()).select_from(in_reach)
    return union_all(*_first_branches(dialect), records, reached)


class Seen:
    """The rows of such a statement, taken apart."""

    def __init__(self, workflow_id: str, rows: Iterable[Any], host_us: int) -> None:
        by_kind: dict[str, list[Any]] = {}
        for row in rows:
            by_kind.setdefault(row[0], []).append(row)
        head = by_kind.get("head")
        workflow = Workflow(workflow_id, *head[0][4:]) if head else None
        clock = by_kind["clock"][0].number or host_us
        now = max(clock, workflow.clock_us) if workflow else clock
        self.held = Held(workflow, now)
        self.held.records = {row.key: row.body for row in by_kind.get("record", ())}
        stands = ((row.key, *divmod(row.number, 2)) for row in by_kind.get("present", ()))
        self.held.present = {key: bool(flag) for key, expires, flag in stands if not expires or expires > now}
        self.reached: int = by_kind["reached"][0].number if "reached" in by_kind else 0
        self.locked = any(workflow and row.body.decode() == workflow.incarnation for row in by_kind.get("held", ()))
        """Whether the transaction had the workflow's row locked before it looked."""
        self.stale_run = False
        """A run's row is there, and its time is over."""
        for run in by_kind.get("run", ()):
            self.stale_run = run.number <= now
            if not self.stale_run:
                self.held.run = packing.run(run.body)
        for row in by_kind.get("ready", ()):
            self.held.ready = packing.ready(row.body)
        for answer, ends in zip(by_kind.get("answer", ()), by_kind.get("ends", ()), strict=True):
            if ends.number is None or ends.number > now:
                self.held.journaled = Journaled(packing.answer(answer.body), answer.number)
