"""How we connect: what a URL names, and the options of every connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy.orm  # noqa: F401 - the async engine loads it, and statements of other threads fail while it does
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

BUSY_SECONDS = 20
"""How long a writer waits for the writer before it."""

FORMS = "write sqlite:///path or postgresql://user:password@host/database"

BEGIN = "ctxqueue_begin"
"""Execution option: how a transaction on SQLite begins; empty: not at all."""

POSTGRES_OPTIONS = {
    "connect_timeout": 5,
    "application_name": "ctxqueue",
    # Who has stopped in the middle of a transaction must not keep a workflow from everybody else.
    "options": f"-c lock_timeout={BUSY_SECONDS}s -c idle_in_transaction_session_timeout={BUSY_SECONDS}s",
    "tcp_user_timeout": 10_000,
}


def checked_url(url: str) -> URL:
    """Return the URL with its driver; raises ConfigurationError for one that names no database of ours."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):  # it quotes what may be of a password
        raise ConfigurationError(f"the database URL is not usable: {FORMS}") from None
    if "@" in (made.host or ""):  # the rest of a password with a bare one
        raise ConfigurationError(f"the database URL is not usable: is its password quoted (%40 for @)? {FORMS}")
    if made.get_backend_name() == "sqlite":
        if not made.database or made.database == ":memory:":
            raise ConfigurationError(
                "the URL names no file: write sqlite:///relative.db or sqlite:////absolute.db;"
                " what need not outlive the process is memory://"
            )
        return made.set(drivername="sqlite")
    return made.set(drivername="postgresql+psycopg")


def address_of(url: URL) -> str:
    """Return where a URL leads, for messages: without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or str(url.query.get("host", "the local socket"))
    return f"{host}:{url.port or 5432}/{url.database or ''}"


def options(url: URL) -> dict[str, Any]:
    """Return what an engine is made with."""
    if url.get_backend_name() == "sqlite":
        wanted: dict[str, Any] = {"timeout": BUSY_SECONDS}
        more: dict[str, Any] = {}
    else:
        wanted = POSTGRES_OPTIONS
        more = {"pool_size": 5, "max_overflow": 15, "use_native_hstore": False}
    # What the URL itself says goes first.
    return {"connect_args": {name: value for name, value in wanted.items() if name not in url.query}, **more}


def blocking_engine(url: URL, *, once: bool = False) -> Engine:
    """Return an engine, not yet connected; raises ConfigurationError where its driver is not installed.

    ``once``: its connections carry out single statements, with no transaction around them.
    """
    try:
        engine = create_engine(url, **options(url), **(_without_transactions(url) if once else {}))
    except ImportError as error:
        raise ConfigurationError("postgresql:// needs psycopg: pip install 'ctxqueue[postgres]'") from error
    prepare(engine)
    return engine


def async_engine(url: URL, *, once: bool = False) -> AsyncEngine:
    """Return the same for event loops; raises ConfigurationError where its driver is not installed."""
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - it loads greenlet, of use here alone

    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite+aiosqlite")
    try:
        engine = create_async_engine(url, **options(url), **(_without_transactions(url) if once else {}))
    except ImportError as error:
        raise ConfigurationError("postgresql:// needs psycopg: pip install 'ctxqueue[postgres]'") from error
    prepare(engine.sync_engine)
    return engine


def _without_transactions(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"execution_options": {BEGIN: ""}}
    # A connection that changed back and forth would pay for it in each call.
    return {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}


def looking_at_one_moment(engine: Engine) -> dict[str, Any]:
    """Return the execution options of connections whose statements all see the same."""
    return {BEGIN: "BEGIN"} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}


def prepare(engine: Engine) -> None:
    """Let connections wait for a row and then see what stands there, whatever the database has as its own.

    None is used on which a statement or a transaction is under way. SQLite's keep what they acknowledge, and take the
    writer's place at the start.
    """
    event.listen(engine, "checkout", _at_rest)
    if engine.dialect.name != "sqlite":
        event.listen(engine, "connect", _read_committed)
        return

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the module's own BEGIN comes too late: at the first write
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        statement = connection.get_execution_options().get(BEGIN, "BEGIN IMMEDIATE")
        if statement:
            connection.exec_driver_sql(statement)


def _read_committed(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")
    cursor.close()
    connection.commit()


def _at_rest(_connection: object, record: Any, _proxy: object) -> None:
    """Have another connection made in the place of one that a call was broken off on, as by a soft time limit.

    It would refuse every statement from then on. What is asked is known here, without a word to the server.
    """
    driver: Any = record.driver_connection
    wire = getattr(driver, "pgconn", None)
    if getattr(driver, "in_transaction", False) or (wire and (wire.transaction_status or wire.pipeline_status)):
        raise DisconnectionError("it is still under way")
