"""The contract with every value encrypted: nothing of it depends on a store that can read what it keeps."""

from __future__ import annotations

import uuid

import pytest

from ctxqueue.keyring import Keyring
from ctxqueue.testing.contract import StoreContract
from ctxqueue.testing.contract.attempts import Attempts
from ctxqueue.testing.contract.draining import Draining
from ctxqueue.testing.contract.encrypting import Encrypting
from ctxqueue.testing.contract.entries import Entries
from ctxqueue.testing.contract.histories import Histories
from ctxqueue.testing.contract.inbox import Inbox
from ctxqueue.testing.contract.steps import Steps
from ctxqueue.testing.contract.transactions import Transactions
from ctxqueue.testing.contract.triggers import Triggers
from ctxqueue.testing.contract.updates import Updates
from ctxqueue.testing.contract.waiters import Waiters

ALL = Keyring({"2026-11": b"k" * 32}, encrypt="all")


class EveryManagerHasAKeyring:
    @pytest.fixture(autouse=True)
    def every_manager_has_a_keyring(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if not request.function.__qualname__.startswith(Encrypting.__name__):  # those have keyrings of their own
            monkeypatch.setattr("ctxqueue.handles.keyring_of", lambda given: given or ALL)


class Sealed(EveryManagerHasAKeyring, StoreContract):
    pass


class TestWhatIsSealed(
    EveryManagerHasAKeyring,
    Entries,
    Updates,
    Transactions,
    Steps,
    Histories,
    Inbox,
    Draining,
    Attempts,
    Triggers,
    Waiters,
):
    """The parts of the contract that have to do with values, without a server."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}"


@pytest.mark.long
class TestSealedInprocess(Sealed):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}"


@pytest.mark.long
@pytest.mark.usefixtures("tidy_redis")
class TestSealedRedis(Sealed):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


@pytest.mark.long
class TestSealedSqlite(Sealed):
    @pytest.fixture
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return f"sqlite:///{tmp_path_factory.mktemp('sealed') / 'ctxqueue.db'}"
