"""Sensitive entries: who may read them, and in which form they arrive."""
# ruff: noqa: D102, S101 - tests: names are sentences, values expected, passwords made up

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import AccessDenied, EntryExists, EntryNotFound, VersionConflict
from ctxqueue.models import Put, Secret
from ctxqueue.testing.contract.base import Contract

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

VALUE = "correct horse battery staple"


class Access(Contract):
    """Permission, as against relevance."""

    @pytest.fixture
    def keeper(self, wf: WorkflowHandle) -> WorkflowHandle:
        """An agent that writes what it may not read."""
        wf.put("site_credentials", VALUE)
        wf.put("rates_api_key", VALUE)
        wf.put("vault_password", VALUE)
        wf.put("marked", VALUE, sensitive=True)
        wf.put("token_count", 5)
        wf.put("open_password", "public", sensitive=False)
        return wf

    @pytest.mark.parametrize(
        ("agent_type", "readable"),
        [
            ("web_extractor", {"site_credentials"}),
            ("financial_calculator", {"rates_api_key"}),
            ("report_generator", set()),
            ("analyst", set()),
        ],
    )
    def test_who_may_read_what(
        self, keeper: WorkflowHandle, manager: SharedContextManager, agent_type: str, readable: set[str]
    ) -> None:
        handle = manager.workflow(keeper.workflow_id, agent_id=f"{agent_type}_1")
        everyones = {"token_count", "open_password"}
        assert {entry.key for entry in handle.list()} == readable | everyones
        for key in ("site_credentials", "rates_api_key", "vault_password", "marked"):
            if key in readable:
                continue
            assert handle.get(key) is None
            assert handle.get(key, reveal=True) is None
            assert key not in handle.view(reveal=True)
            assert not handle.view().hidden_by_filter(key)
            with pytest.raises(EntryNotFound):
                handle[key]
        for key in readable:
            value = handle[key]
            assert isinstance(value, Secret)
            assert value.reveal() == VALUE
            entry = handle.get(key, reveal=True)
            assert entry is not None
            assert entry.value == VALUE
            assert handle.view(reveal=True).entry(key).value == VALUE if key in handle.view() else True

    def test_the_web_extractors_view_holds_its_credentials(
        self, keeper: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        view = manager.workflow(keeper.workflow_id, agent_id="web_extractor_1").view()
        assert dict(view) == {"site_credentials": Secret(VALUE)}

    def test_nothing_that_is_printed_shows_the_value(
        self, keeper: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        handle = manager.workflow(keeper.workflow_id, agent_id="web_extractor_1")
        entry = handle.get("site_credentials")
        assert entry is not None
        shown = (entry, entry.value, entry.to_dict(), handle.view(), handle.view().as_dict(), handle.list(), handle)
        for each in (*shown, handle.get("site_credentials", reveal=True)):
            assert VALUE not in f"{each!r} {each}"

    def test_the_operator_sees_that_it_is_there_and_reveals_on_request(
        self, keeper: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        assert {entry.key for entry in operator.list()} == {entry.key for entry in operator.list(reveal=True)}
        secrets = {entry.key: entry.value for entry in operator.list() if entry.sensitive}
        assert set(secrets) == {"site_credentials", "rates_api_key", "vault_password", "marked"}
        for key, value in secrets.items():
            with pytest.raises(AccessDenied, match="reveal=True"):
                value.reveal()
            with pytest.raises(AccessDenied):
                operator[key].reveal()
            with pytest.raises(AccessDenied):
                operator.view()[key].reveal()
            revealed = operator.get(key, reveal=True)
            assert revealed is not None
            assert revealed.value == operator.view(reveal=True)[key] == VALUE
        assert {entry.value for entry in operator.list(reveal=True) if entry.sensitive} == {VALUE}
        assert len(keeper.list()) < len(operator.list())

    def test_a_concealed_value_is_not_in_the_entry_at_all(
        self, keeper: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        entry = operator.get("vault_password")
        assert entry is not None
        assert entry.packed_value() == b""
        assert keeper.get("vault_password") is None

    def test_a_writer_learns_only_conflict_or_not(self, keeper: WorkflowHandle) -> None:
        with pytest.raises(VersionConflict) as caught:
            keeper.put("vault_password", "guess", expected_version=7)
        assert caught.value.current is None
        assert VALUE not in repr(caught.value)
        with pytest.raises(EntryExists) as existing:
            keeper.create("vault_password", "guess")
        assert VALUE not in repr(existing.value)
        with pytest.raises(VersionConflict) as merged:
            keeper.update({"vault_password": Put({"a": 1}, expected_version=7)})
        assert merged.value.current is None

    def test_a_conflict_of_a_reader_brings_a_secret(
        self, keeper: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        handle = manager.workflow(keeper.workflow_id, agent_id="web_extractor_1")
        with pytest.raises(VersionConflict) as caught:
            handle.put("site_credentials", "new", expected_version=7)
        assert caught.value.current is not None
        assert caught.value.current.value == Secret(VALUE)

    def test_what_is_marked_stays_so_through_updates(self, keeper: WorkflowHandle, operator: WorkflowHandle) -> None:
        keeper.update({"marked": {"a": 1}})
        keeper.update({"marked": {"b": 2}})
        entry = operator.get("marked", reveal=True)
        assert entry is not None
        assert (entry.sensitive, entry.value) == (True, {"a": 1, "b": 2})
        assert keeper.get("marked") is None

    def test_a_hidden_entry_hides_nothing_further_out(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", "everyone's")
        member = manager.workflow(wf.workflow_id, agent_id="analyst_001", groups=["g"])
        member.put("k", VALUE, group="g", sensitive=True)
        assert member["k"] == "everyone's"
        assert member.view()["k"] == "everyone's"
        assert "k" not in member.view().shadowed
