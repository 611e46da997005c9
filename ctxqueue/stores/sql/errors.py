"""The database's errors in our words; the one place where that is done. No message holds a password."""

from __future__ import annotations

import random
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ctxqueue.errors import CtxqueueError, StoreAuthError, StoreReadOnly, StoreUnavailable

TRIES = 8
"""Of one effect; safe, as every commit carries its call's id."""
FIRST_CONTACT_TRIES = 2
PATIENCE = 30.0
"""Seconds after which an effect is not tried again."""

# PostgreSQL's codes, by their meaning or the first two characters of their class.
AUTHORIZATION = ("28", "42501")
READ_ONLY = ("25006", "53100")
TRY_AGAIN = ("40001", "40P01", "55P03")
CONNECTION = ("08", "57P01", "57P02", "57P03", "53300", "25P03")

OF_A_STATEMENT = (ArithmeticError, LookupError, TypeError, ValueError, SQLAlchemyError)
"""What SQLAlchemy or a driver raises about values, before the database is asked."""

SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
SQLITE_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL}


def is_passing(error: SQLAlchemyError) -> bool:
    """Whether the same effect may succeed if it is tried again now."""
    if not isinstance(error, DBAPIError):
        return False
    code = _code(error)
    if isinstance(code, int):
        return code in SQLITE_BUSY
    if not code:  # no answer at all
        return error.connection_invalidated or isinstance(error, OperationalError)
    return code.startswith((*TRY_AGAIN, *CONNECTION))


def pause(tries: int) -> float:
    """Return the seconds to wait before the next try."""
    return random.uniform(0, min(2.0, 0.02 * 2**tries))  # noqa: S311 - to part rivals, not for secrecy


def our_error(error: SQLAlchemyError, where: str) -> Exception:
    """Return the error of ours that says the same; what broke a statement off from outside stays what it is."""
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, Exception) and not isinstance(cause, OF_A_STATEMENT):
            return cause  # as a soft time limit, which the caller may be about to handle
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(f"all connections to {where} are in use for too long: fewer threads, or shorter calls")
    text = _text(error)
    if not isinstance(error, DBAPIError):
        return StoreUnavailable(f"the database at {where} answered with an error: {text}", answered=True)
    code = _code(error)
    if isinstance(code, int):
        return _of_sqlite(code, text, where)
    return _of_postgres(code, text, where, lost=error.connection_invalidated)


def _of_postgres(code: str, text: str, where: str, *, lost: bool) -> CtxqueueError:
    if code.startswith(AUTHORIZATION) or "authentication failed" in text or "no password supplied" in text:
        return StoreAuthError(
            f"the database at {where} refuses the credentials ({text}): check user, password and rights"
        )
    if code.startswith(READ_ONLY):
        return StoreReadOnly(f"the database at {where} takes no writes ({text}): a standby, or its disk is full")
    if not code or lost or code.startswith(CONNECTION):
        return StoreUnavailable(f"the database at {where} does not answer ({text}): is it running, is the URL right?")
    return StoreUnavailable(f"the database at {where} answered with an error: {text}", answered=True)


def _of_sqlite(code: int, text: str, where: str) -> CtxqueueError:
    if code in SQLITE_READ_ONLY:
        return StoreReadOnly(f"the database {where} takes no writes ({text}): check its rights, and room on its disk")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailable(f"the database {where} cannot be opened ({text}): is its directory there?")
    if code in SQLITE_BUSY:
        return StoreUnavailable(f"the database {where} is busy ({text}): another process holds it for too long")
    return StoreUnavailable(f"the database {where} answered with an error: {text}", answered=True)


def _code(error: DBAPIError) -> int | str:
    """Return SQLite's primary result code, or PostgreSQL's five characters, empty if there are none."""
    if isinstance(error.orig, sqlite3.Error):
        extended = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return int(extended) & 0xFF
    return str(getattr(error.orig, "sqlstate", None) or "")


def _text(error: SQLAlchemyError) -> str:
    """Return the database's own words: SQLAlchemy's would add the statement with our values."""
    words = str(getattr(error, "orig", None) or error).strip()
    return " ".join(words.split())[:300]
