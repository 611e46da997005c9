"""Statements that go to PostgreSQL together: one round trip for all that stands in a ``with`` block.

Results come at its end, and SQLAlchemy sees none of them: only for statements whose rows nobody looks at.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Send what is executed inside at once, where the driver can; raises SQLAlchemy's errors at the end."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "postgresql" or not _can(driver):
        yield
        return
    try:
        if connection.dialect.is_async:
            from sqlalchemy.util import await_only  # noqa: PLC0415 - it loads greenlet, of use here alone

            pipeline = driver.pipeline()
            await_only(pipeline.__aenter__())
            try:
                yield
            except BaseException as error:
                await_only(pipeline.__aexit__(type(error), error, error.__traceback__))
                raise
            await_only(pipeline.__aexit__(None, None, None))
        else:
            with driver.pipeline():
                yield
    except connection.dialect.loaded_dbapi.Error as error:
        lost = _is_lost_or_rolled_back(connection, driver, error)
        raise DBAPIError.instance(
            None,
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error
    except BaseException as error:  # raised on, an interrupt too: the connection goes back without a transaction
        _is_lost_or_rolled_back(connection, driver, error)
        raise


def _works(driver: Any) -> bool:
    """Whether it can be used. Where a server went while results were awaited, its pipeline cannot end."""
    return not (driver.closed or driver.broken or driver.pgconn.pipeline_status)


def _is_lost_or_rolled_back(connection: Connection, driver: Any, error: BaseException) -> bool:
    """End what has failed; return whether that ended the connection.

    Where the COMMIT was among the statements SQLAlchemy takes the transaction for ended, whatever has become of it,
    and gives the connection back as it is: whoever got it next would be in the failed transaction.
    """
    if _works(driver):
        with suppress(connection.dialect.loaded_dbapi.Error):  # it went since
            if connection.dialect.is_async:
                from sqlalchemy.util import await_only  # noqa: PLC0415 - as above

                await_only(driver.rollback())
            else:
                driver.rollback()
            return False
    connection.invalidate(error)
    return True


def _can(driver: Any) -> bool:
    import psycopg  # noqa: PLC0415 - an extra

    return isinstance(driver, psycopg.Connection | psycopg.AsyncConnection) and psycopg.Pipeline.is_supported()
