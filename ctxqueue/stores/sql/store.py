"""The blocking SQL store: each effect is one transaction, tried again where a rival or a lost connection ended it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError

from ctxqueue.effects import Batch, Commit
from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.sql import calling, connecting, errors, looking, upgrading
from ctxqueue.stores.sql.handlers import HANDLERS, looks_at_one_moment, looks_once
from ctxqueue.stores.sql.hopeful import Contended, GivenUp, HopefulState
from ctxqueue.stores.sql.state import SqlState
from ctxqueue.stores.sql.writing import Statements
from ctxqueue.stores.waking import Looking

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine

    from ctxqueue.effects import Effect
    from ctxqueue.stores.waking import Wake

T = TypeVar("T")


class SqlStore:
    """Carries out effects on one database, in one namespace. Thread-safe."""

    shards = range(1)

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        address = connecting.checked_url(url)
        self.where = connecting.address_of(address)
        self._engine = connecting.blocking_engine(address)
        self._once = connecting.blocking_engine(address, once=True)
        self._moment: Engine = self._engine.execution_options(**connecting.looking_at_one_moment(self._engine))
        self._statements = Statements(self._engine.dialect.name)
        self._process = os.getpid()
        self._verified = False
        self._postgres = self._engine.dialect.name == "postgresql"
        self.may_index = self._postgres
        """Whether memories may have an index here: see `ctxqueue.stores.sql.nearest`."""
        self._contended = Contended()
        self._listener = calling.Listener(address)
        self._make_locks()

    def _make_locks(self) -> None:
        self._verifying = threading.Lock()
        # SQLite lets one write at a time, and whoever waits for its lock sleeps.
        self._writing: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if self._postgres else threading.Lock()
        )

    def _leave_the_parents(self) -> None:
        """In a process that was forked: connections are the parent's, and locks may be held by threads of its own."""
        if self._process == os.getpid():
            return
        self._engine.dispose(close=False)  # without a word to the server
        self._once.dispose(close=False)
        self._make_locks()
        self._process = os.getpid()

    def verify(self) -> None:
        """Connect and check the schema, once; an empty database gets ours. Raises StoreError."""
        self._leave_the_parents()
        with self._verifying:
            if self._verified:
                return
            try:
                self._trying(lambda: upgrading.check(self._engine, self.where), errors.FIRST_CONTACT_TRIES)
            except BaseException:  # raised on: nobody will use this store, and few would close it
                self.close()
                raise
            self._verified = True

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        self._leave_the_parents()
        if not self._verified:
            self.verify()
        if isinstance(effect, Batch):
            return cast("T", tuple(self.perform(each) for each in effect.effects))
        if looks_once(effect):
            return self._trying(lambda: self._read(self._once, effect))
        if looks_at_one_moment(effect):
            return self._trying(lambda: self._read(self._moment, effect))
        return self._trying(lambda: self._write(effect))

    def _read(self, engine: Engine, effect: Effect[T]) -> T:
        with engine.connect() as connection:
            return looked(connection, self.namespace, self._statements, effect)

    def _write(self, effect: Effect[T]) -> T:
        if isinstance(effect, Commit) and self._postgres and self._contended.hopeful(effect):
            try:
                with self._once.connect() as connection:
                    return cast("T", hoped(connection, self.namespace, self._statements, effect))
            except GivenUp as given_up:
                if given_up.overtaken:
                    self._contended.note(effect.workflow_id)
        with self._writing, self._engine.connect() as connection:
            return committed(connection, self.namespace, self._statements, effect)

    def _trying(self, attempt: Callable[[], T], most: int = errors.TRIES) -> T:
        begun = time.monotonic()
        for tries in range(most):
            try:
                return attempt()
            except SQLAlchemyError as error:
                tired = tries == most - 1 or time.monotonic() - begun > errors.PATIENCE
                if tired or not errors.is_passing(error):
                    raise errors.our_error(error, self.where) from error
            time.sleep(errors.pause(tries))
        raise AssertionError("the last try returns or raises")

    def listening(self, channel: str) -> AbstractContextManager[Wake]:
        """Return a block in which one can wait: to be called, or on SQLite, which calls nobody, by looking."""
        return self._listener.listening(channel) if self._postgres else contextlib.nullcontext(Looking())

    def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow may have gone beyond a revision, or after so many seconds."""
        self._leave_the_parents()
        wake, ends = Looking(), time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            wake.wait(left)
            if self._trying(lambda: self._has_moved(workflow_id, revision)):
                return

    def _has_moved(self, workflow_id: str, revision: int) -> bool:
        with self._once.connect() as connection:
            return has_moved(connection, self.namespace, workflow_id, revision)

    def shard_of(self, _workflow_id: str) -> int:
        """Return the only shard."""
        return 0

    def close(self) -> None:
        """Close the connections; the next effect opens new ones."""
        self._leave_the_parents()
        self._listener.close()
        self._engine.dispose()
        self._once.dispose()


def has_moved(connection: Connection, namespace: str, workflow_id: str, revision: int) -> bool:
    """Whether a workflow stands at another revision, is closed, or is not there."""
    place = {"in_namespace": namespace, "in_workflow": workflow_id, "at_revision": revision}
    return not connection.execute(looking.STANDS, place).scalar_one()


def looked(connection: Connection, namespace: str, statements: Statements, effect: Effect[T]) -> T:
    """Carry out an effect that writes nothing."""
    return cast("T", HANDLERS[type(effect)](SqlState(connection, namespace, statements), effect))


def carried_out(state: SqlState, effect: Effect[T]) -> T:
    """Carry out one effect, and commit."""
    reply = HANDLERS[type(effect)](state, effect)
    state.commit()
    return cast("T", reply)


def committed(connection: Connection, namespace: str, statements: Statements, effect: Effect[T]) -> T:
    """Carry out one effect in a transaction, and then wake who waits for what it brought."""
    state = SqlState(connection, namespace, statements)
    reply = carried_out(state, effect)
    if state.called:
        calling.call(connection, state.called)
    return reply


def hoped(connection: Connection, namespace: str, statements: Statements, effect: Any) -> Any:
    """Carry out a commit without a lock; raises GivenUp."""
    return carried_out(HopefulState(connection, namespace, statements), effect)
