"""The thread that keeps the leases of one process's attempts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from ctxqueue.identity import Attempt
from ctxqueue.integration.leases import LeaseKeeper
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager

LONG, SHORT = 3_600.0, 0.03
"""Seconds."""


class Store:
    """Counts renewals; the first one fails, if it is to."""

    def __init__(self, error: Exception | None) -> None:
        self.renewed = 0
        self.error = error

    def perform(self, _effect: object) -> bool:
        self.renewed += 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return True


def manager(lease: float, error: Exception | None = None) -> tuple[SharedContextManager, Store]:
    store = Store(error)
    terms = SimpleNamespace(settings=SimpleNamespace(lease=lease), lease_us=1)
    made: Any = SimpleNamespace(store=store, terms=terms)
    return cast("SharedContextManager", made), store


def attempt(run: str) -> Attempt:
    return Attempt(run, 0, "w", 1)


def test_a_short_lease_does_not_wait_for_the_renewal_of_a_long_one() -> None:
    keeper, (patient, slow), (hasty, quick) = LeaseKeeper(), manager(LONG), manager(SHORT)
    with keeper.keeping(patient, attempt("a")):
        wait_until(lambda: slow.renewed, "the long lease is renewed, and the next time is far off")
        with keeper.keeping(hasty, attempt("b")):
            wait_until(lambda: quick.renewed > 2, "the short lease is renewed")


def test_an_error_of_any_kind_ends_no_renewal() -> None:
    keeper, (hasty, store) = LeaseKeeper(), manager(SHORT, RuntimeError("can't start new thread"))
    with keeper.keeping(hasty, attempt("a")):
        wait_until(lambda: store.renewed > 2, "it is renewed again")
    renewed = store.renewed
    with keeper.keeping(hasty, attempt("b")):
        wait_until(lambda: store.renewed > renewed + 2, "a later one is renewed too")
