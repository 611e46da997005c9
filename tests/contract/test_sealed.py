"""The contract with every value encrypted: nothing of it depends on a store that can read what it keeps."""

from __future__ import annotations

import uuid

import pytest

from ctxqueue.keyring import Keyring
from ctxqueue.testing.contract import StoreContract
from ctxqueue.testing.contract.encrypting import Encrypting

ALL = Keyring({"2026-11": b"k" * 32}, encrypt="all")


class Sealed(StoreContract):
    @pytest.fixture(autouse=True)
    def every_manager_has_a_keyring(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if not request.function.__qualname__.startswith(Encrypting.__name__):  # those have keyrings of their own
            monkeypatch.setattr("ctxqueue.handles.keyring_of", lambda given: given or ALL)


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
