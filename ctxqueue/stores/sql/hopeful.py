"""A commit on PostgreSQL without a lock: it looks, decides, and writes if the workflow still stands as it was seen.

Two round trips, each one statement, where a transaction takes five statements. It is for the usual commit; one that
is more (of a run, or where runs wait, or where room must be made, or that settles stored updates) is given up before
it has written, and so is one whose workflow has changed meanwhile: both are for a transaction then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.stores.engine.held import NOTHING, Held, Wanted
from ctxqueue.stores.sql.gathering import gathered, guard_of
from ctxqueue.stores.sql.state import SqlState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Executable

    from ctxqueue.effects import Commit


class GivenUp(Exception):
    """Nothing was written; a transaction can do it."""

    def __init__(self, *, overtaken: bool) -> None:
        self.overtaken = overtaken
        """Somebody else's commit came between."""


class HopefulState(SqlState):
    """A `State` for one commit, over a connection without a transaction."""

    _looked = False

    def hold(self, workflow_id: str, wanted: Wanted = NOTHING) -> Held:
        """Look at a workflow, in one statement; raises GivenUp."""
        if wanted.run:
            raise GivenUp(overtaken=False)
        held = self._look(workflow_id, wanted).held
        if held.workflow is not None:
            if held.workflow.parked or held.workflow.watched:
                raise GivenUp(overtaken=False)
            self._guards[workflow_id] = guard_of(held.workflow)
        return held

    def commit(self) -> None:
        """Carry out the writes in one statement; raises GivenUp."""
        if not self._writes:
            return
        (guard,) = self._guards.values()
        whole = gathered(self._namespace, self._writes, self._statements, guard)
        if whole is None:
            raise GivenUp(overtaken=False)
        if not self._connection.exec_driver_sql(*whole).scalar():
            raise GivenUp(overtaken=True)

    def _rows(self, statement: Executable, **parameters: Any) -> Sequence[Any]:
        """Read once; raises GivenUp the second time, which may be at another moment."""
        if self._looked:
            raise GivenUp(overtaken=False)
        self._looked = True
        return super()._rows(statement, **parameters)


class Contended:
    """The workflows where hope was in vain lately: the next commits to them take the lock at once."""

    MOST = 1_000
    COMMITS = 20

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def hopeful(self, effect: Commit) -> bool:
        """Whether to try without a lock: never to settle stored updates, for that changes the inbox."""
        if effect.settling is not None:
            return False
        left = self._left.get(effect.workflow_id, 0)
        if left > 1:
            self._left[effect.workflow_id] = left - 1
        elif left:
            self._left.pop(effect.workflow_id, None)
        return not left

    def note(self, workflow_id: str) -> None:
        """Remember that somebody else's commit came between."""
        if len(self._left) >= self.MOST:
            self._left.clear()
        self._left[workflow_id] = self.COMMITS
