"""Which revision of the schema a database has, and how it gets the newest: by Alembic, with a version table of its own.

An empty database is given ours at first contact. One that has an older or a newer revision is left as it is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import column, func, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from ctxqueue.errors import SchemaTooNew, SchemaTooOld
from ctxqueue.stores.sql import connecting, errors, nearest
from ctxqueue.stores.sql.schema import PREFIX, REVISIONS, VECTORS_PREFIX, VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SCRIPTS = "ctxqueue:stores/sql/migrations"
MOST_TRIES = 20
"""With up to 2 s between them."""
UPGRADING = int.from_bytes(b"ctxqueue")
"""The advisory lock that lets one upgrade at a time go on."""


def revision_of(connection: Connection) -> str | None:
    """Return the revision of our tables; None if there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    return found


def check(engine: Engine, where: str) -> None:
    """Give an empty database our tables; raises SchemaTooOld, SchemaTooNew, and SQLAlchemy's errors."""
    with engine.begin() as connection:
        check_connection(connection, where)


def check_connection(connection: Connection, where: str) -> None:
    """Do the same within a transaction."""
    found = revision_of(connection)
    if found is None:
        upgrade(connection)
    elif found not in REVISIONS:
        raise SchemaTooNew(
            f"the tables in {where} have revision {found}, this process knows up to {REVISIONS[-1]}: upgrade ctxqueue"
        )
    elif found != REVISIONS[-1]:
        raise SchemaTooOld(
            f"the tables in {where} have revision {found}, this process needs {REVISIONS[-1]}: run"
            " celery -A proj ctx migrate, or ctxqueue.stores.sql.migrate(url)"
        )


def upgrade(connection: Connection) -> None:
    """Bring our tables up to date, within the connection's transaction; others that try it at once wait."""
    from alembic import command  # noqa: PLC0415 - it takes a while to load, and is seldom needed
    from alembic.config import Config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADING)))
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic may look at a table: only at our own, and not at those that depend on the embedder."""
    return kind != "table" or ((name or "").startswith(PREFIX) and not (name or "").startswith(VECTORS_PREFIX))


def migrate(url: str) -> str:
    """Bring the tables in the database that a URL names up to date, and return their revision.

    Raises ConfigurationError, SchemaTooNew, StoreUnavailable, StoreAuthError, StoreReadOnly.
    """
    made = connecting.checked_url(url)
    where = connecting.address_of(made)
    engine = connecting.blocking_engine(made)
    begun, tries = time.monotonic(), 0
    try:
        while True:
            try:
                with engine.begin() as connection:
                    found = revision_of(connection)
                    if found is not None and found not in REVISIONS:
                        check_connection(connection, where)
                    upgrade(connection)
            except SQLAlchemyError as error:
                # SQLite does not let everybody wait who meets a rival's lock.
                if not errors.is_passing(error) or time.monotonic() - begun > errors.PATIENCE or tries >= MOST_TRIES:
                    raise errors.our_error(error, where) from error
                tries += 1
                time.sleep(errors.pause(tries))
            else:
                return REVISIONS[-1]
    finally:
        engine.dispose()


def index_vectors(url: str, model: str) -> str:
    """Make what pgvector needs for a model's vectors: the extension, if it may be created, a table and its indexes.

    ``model`` is an embedder's name and dimension as rows have it, "name:256". Returns "", or why there is no index.
    Raises ConfigurationError, StoreUnavailable, StoreAuthError, StoreReadOnly.
    """
    made = connecting.checked_url(url)
    engine = connecting.blocking_engine(made)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(UPGRADING)))
            return nearest.prepare(connection, model)
    except SQLAlchemyError as error:
        raise errors.our_error(error, connecting.address_of(made)) from error
    finally:
        engine.dispose()
