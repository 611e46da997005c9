"""Flows without a store: replies are sent into the generators by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import codec
from ctxqueue import effects as fx
from ctxqueue.errors import (
    CapacityError,
    CtxqueueError,
    EntryExists,
    OperationDiverged,
    StaleOperation,
    StoreUnavailable,
    VersionConflict,
    WorkflowNotFound,
)
from ctxqueue.flows import attempts, committing, histories, loading, sweeping, updating, viewing, writing
from ctxqueue.flows.logs import LOG_PAGE
from ctxqueue.flows.terms import Terms
from ctxqueue.models import GLOBAL_WORKFLOW, Agent, ContextPriority, Put
from ctxqueue.records import Stamp, encode_meta, encode_record
from ctxqueue.stores.redis.codecs import CODECS

if TYPE_CHECKING:
    from collections.abc import Iterable

AGENT = Agent("analyst_001")
ADDRESS = "w\0\0k"
COMMIT = b"commit 1"
HEAD = fx.Head("incarnation", 7, COMMIT, 0, b"", 1_000)


@pytest.fixture
def terms() -> Terms:
    return Terms("default", range(8), lambda _workflow: 3, app="app")


def record(value: Any, version: int = 1, commit_id: bytes = COMMIT) -> bytes:
    meta = encode_meta(
        "somebody", ContextPriority.HIGH, pinned=True, sensitive=False, depends_on=("d",), metadata={"m": 1}
    )
    return encode_record(Stamp(version, commit_id), 5, 500, 0, b"somebody", meta, codec.pack(value))


def committed(*versions: int, **fields: Any) -> fx.Committed:
    known: dict[str, Any] = {"now_us": 1_000, "commit_id": COMMIT, "replayed": False, "diverged": False, "fired": 0}
    known |= {"outgoing": (), "pending": (), "revision": 8} | fields
    return fx.Committed(versions=versions, **known)


def finished(flow: fx.Flow[Any], reply: Any) -> Any:
    """Send the last reply; return what the flow returns."""
    with pytest.raises(StopIteration) as stop:
        flow.send(reply)
    return stop.value.value


def items(*names: str) -> tuple[fx.Outgoing, ...]:
    return tuple(fx.Outgoing(name, name.encode()) for name in names)


def update(terms: Terms, updates: dict[str, Any], strategy: str = "smart_merge") -> Any:
    return updating.update(terms, "w", AGENT, updates, strategy)


def first_try(flow: Any, standing: bytes | None = None) -> fx.Commit:
    """Answer the read of what this process has not written itself; return the commit that follows."""
    assert next(flow) == fx.Load("w", (ADDRESS,))
    effect = flow.send((HEAD, {} if standing is None else {ADDRESS: standing}))
    assert isinstance(effect, fx.Commit)
    return effect


def begun(terms: Terms, updates: dict[str, Any], standing: dict[str, bytes] | None = None) -> tuple[Any, Any]:
    """Begin an update that reads what it has to merge; return the flow and its first commit."""
    flow = update(terms, updates)
    assert isinstance(next(flow), fx.Load)
    return flow, flow.send((HEAD, standing or {}))


class TestLoads:
    WANTED = ("a", "b", "c")
    SOME = fx.Load("w", WANTED, loading.BYTES_A_CALL)

    def test_what_was_left_out_is_read_by_further_calls(self) -> None:
        flow = loading.load("w", self.WANTED)
        assert next(flow) == self.SOME
        left = flow.send((HEAD, {"a": b"1", "b": fx.LEFT_OUT, "c": fx.LEFT_OUT}))
        assert left == fx.Load("w", ("b", "c"), loading.BYTES_A_CALL)
        assert flow.send((HEAD, {"b": b"2", "c": fx.LEFT_OUT})) == fx.Load("w", ("c",), loading.BYTES_A_CALL)
        assert finished(flow, (HEAD, {})) == (HEAD, {"a": b"1", "b": b"2"})

    def test_after_three_that_were_overtaken_all_of_it_is_read_at_once(self) -> None:
        flow = loading.load("w", self.WANTED)
        effect = next(flow)
        for revision in range(loading.ROUNDS):
            assert effect == self.SOME
            flow.send((msgspec.structs.replace(HEAD, revision=revision), {"a": b"1", "b": fx.LEFT_OUT}))
            effect = flow.send((HEAD, {"b": b"2"}))
        assert effect == fx.Load("w", self.WANTED)
        assert finished(flow, (HEAD, {"a": b"3"})) == (HEAD, {"a": b"3"})


class TestUpdates:
    def test_what_must_be_merged_is_read_then_committed(self, terms: Terms) -> None:
        flow = update(terms, {"k": {"b": 2}})
        assert next(flow) == fx.Load("w", (ADDRESS,))
        effect = flow.send((HEAD, {ADDRESS: record({"a": 1}, 4)}))
        assert (effect.workflow_id, effect.agent_id, effect.app) == ("w", "analyst_001", "app")
        (write,) = effect.writes
        assert (write.operation, write.address, write.keep_expiry) == ("put", ADDRESS, True)
        assert (write.expected_version, write.expected_commit) == (4, COMMIT)
        assert codec.unpack(write.value) == {"a": 1, "b": 2}
        result = finished(flow, committed(5))
        assert (result.versions, result.attempts, result.replayed) == ({"k": 5}, 1, False)

    def test_what_is_not_there_is_written_on_that_condition(self, terms: Terms) -> None:
        flow, effect = begun(terms, {"k": {"a": 1}})
        (write,) = effect.writes
        assert (write.expected_version, codec.unpack(write.value)) == (0, {"a": 1})
        assert finished(flow, committed(1)).attempts == 1

    def test_a_refusal_brings_what_to_merge_with(self, terms: Terms) -> None:
        flow, _ = begun(terms, {"k": {"b": 2}}, {ADDRESS: record({"a": 1}, 4)})
        (write,) = flow.send(fx.Conflict({0: record({"c": 3}, 9)}, (), 1_000)).writes
        assert (write.expected_version, codec.unpack(write.value)) == (9, {"c": 3, "b": 2})
        assert finished(flow, committed(10)).attempts == 2

    def test_every_try_is_one_call(self, terms: Terms) -> None:
        flow, first = begun(terms, {"k": {"b": 2}}, {ADDRESS: record({})})
        efforts = [first]
        for version in range(2, 5):
            following = flow.send(fx.Conflict({0: record({"a": version}, version)}, (), 1_000))
            if isinstance(following, fx.Wait):
                assert 0 <= following.seconds <= updating.LONGEST_BACKOFF
                following = flow.send(None)
            efforts.append(following)
        assert len({(effort.call, effort.digest) for effort in efforts}) == 1
        assert len({effort.commit_id for effort in efforts}) == 4
        assert finished(flow, committed(5)).attempts == 4

    def test_a_record_too_large_to_come_along_is_read(self, terms: Terms) -> None:
        flow, _ = begun(terms, {"k": {"b": 2}})
        assert flow.send(fx.Conflict({}, (0,), 1_000)) == fx.Load("w", (ADDRESS,))
        effect = flow.send((HEAD, {ADDRESS: record({"a": 1}, 4)}))
        assert codec.unpack(effect.writes[0].value) == {"a": 1, "b": 2}
        assert finished(flow, committed(5)).versions == {"k": 5}

    def test_what_was_deleted_meanwhile_is_written_anew(self, terms: Terms) -> None:
        flow, _ = begun(terms, {"k": {"b": 2}}, {ADDRESS: record({"a": 1}, 4)})
        (write,) = flow.send(fx.Conflict({0: None}, (), 1_000)).writes
        assert (write.expected_version, codec.unpack(write.value)) == (0, {"b": 2})
        flow.close()

    def test_what_this_process_wrote_last_is_guessed_to_stand_there_still(self, terms: Terms) -> None:
        first, _ = begun(terms, {"k": {"a": 1}})
        finished(first, committed(1))
        second = update(terms, {"k": {"b": 2}})
        (write,) = next(second).writes
        assert (write.expected_version, write.expected_commit) == (1, COMMIT)
        assert codec.unpack(write.value) == {"a": 1, "b": 2}
        second.send(fx.Conflict({0: record({"c": 3}, 9)}, (), 1_000))
        assert finished(second, committed(10)).attempts == 2

    def test_a_replayed_outcome_is_not_guessed_from(self, terms: Terms) -> None:
        first, _ = begun(terms, {"k": {"a": 1}})
        finished(first, committed(1, replayed=True))
        assert isinstance(next(update(terms, {"k": {"b": 2}})), fx.Load)

    def test_a_call_that_was_made_before_is_recognised_whatever_stands_there(self, terms: Terms) -> None:
        """What stands there now could not be merged with; the commit tells that it need not be."""
        flow = update(terms, {"k": [1]}, "union")
        next(flow)
        effect = flow.send((HEAD, {ADDRESS: record("no list any more", 4)}))
        assert isinstance(effect, fx.Commit)
        assert finished(flow, committed(1, replayed=True)).replayed is True

    def test_the_server_merges_what_needs_no_look(self, terms: Terms) -> None:
        effect = next(update(terms, {"k": 1, "l": "text"}))
        assert [write.operation for write in effect.writes] == ["set", "set"]
        effect = next(update(terms, {"k": [1]}, "append"))
        assert (effect.writes[0].operation, effect.writes[0].expected_version) == ("append", None)

    def test_a_list_too_large_for_the_server_is_merged_here(self, terms: Terms) -> None:
        flow = update(terms, {"j": [0], "k": [2]}, "append")
        next(flow)
        effect = flow.send(fx.Refused("merge_outside", "1"))
        assert [write.operation for write in effect.writes] == ["append", "put"]
        effect = flow.send(fx.Conflict({1: record([1], 4)}, (), 1_000))
        assert codec.unpack(effect.writes[1].value) == [1, 2]
        assert finished(flow, committed(1, 5)).attempts == 1

    def test_writes_go_in_one_order_whatever_the_callers(self, terms: Terms) -> None:
        flow = update(terms, {"b": 1, "a": 2, "private_c": 3})
        addresses = [write.address for write in next(flow).writes]
        assert addresses == ["p\0analyst_001\0private_c", "w\0\0a", "w\0\0b"]
        result = finished(flow, committed(30, 20, 10))
        assert list(result.versions.items()) == [("b", 10), ("a", 20), ("private_c", 30)]

    def test_an_endless_race_ends_as_a_conflict(self, terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(updating, "MAX_ROUNDS", 5)
        flow, effect = begun(terms, {"k": {"a": 1}})
        commits = 0

        def losing() -> None:
            nonlocal commits, effect
            while True:
                commits += isinstance(effect, fx.Commit)
                lost = fx.Conflict({0: record({}, commits)}, (), 1)
                effect = flow.send(lost if isinstance(effect, fx.Commit) else None)

        with pytest.raises(VersionConflict, match="lost the race 5 times: nothing was written"):
            losing()
        assert commits == 5


class TestPuts:
    def test_a_conflict_brings_the_current_entry(self, terms: Terms) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "k", Put(1, expected_version=2))
        next(flow)
        with pytest.raises(VersionConflict) as caught:
            flow.send(fx.Conflict({0: record("there", 3)}, (), 1_000))
        assert caught.value.current is not None
        assert (caught.value.current.version, caught.value.current.value) == (3, "there")

    def test_a_conflict_too_large_is_read(self, terms: Terms) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "k", Put(1, expected_version=2))
        next(flow)
        assert flow.send(fx.Conflict({}, (0,), 1_000)) == fx.Load("w", (ADDRESS,))
        with pytest.raises(VersionConflict) as caught:
            flow.send((HEAD, {}))
        assert caught.value.current is None

    def test_create_expects_nothing_there(self, terms: Terms) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "k", Put(1), create=True)
        assert next(flow).writes[0].expected_version == 0
        with pytest.raises(EntryExists):
            flow.send(fx.Conflict({0: record("there")}, (), 1_000))

    def test_the_first_global_entry_opens_the_global_context(self, terms: Terms) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "global_k", Put(1))
        first = next(flow)
        opening = flow.send(fx.Refused("no_workflow"))
        assert isinstance(opening, fx.Open)
        assert opening.workflow_id == GLOBAL_WORKFLOW
        again = flow.send((True, HEAD))
        assert (again.call, again.writes) == (first.call, first.writes)
        assert finished(flow, committed(1)).version == 1

    @pytest.mark.parametrize(
        ("refused", "error", "message"),
        [
            (fx.Refused("no_workflow"), WorkflowNotFound, "'w' does not exist: open it first"),
            (fx.Refused("stale", "9"), StaleOperation, "older than one already answered"),
            (fx.Refused("diverged"), OperationDiverged, "another input"),
            (fx.Refused("entries", "11"), CapacityError, "more entries.*ctxqueue_max_entries"),
            (fx.Refused("bytes", "99"), CapacityError, "more bytes.*ctxqueue_max_bytes"),
        ],
        ids=lambda case: getattr(case, "reason", None),
    )
    def test_refusals(self, terms: Terms, refused: fx.Refused, error: type[CtxqueueError], message: str) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "k", Put(1))
        next(flow)
        with pytest.raises(error, match=message):
            flow.send(refused)

    def test_a_failure_of_the_store_frees_the_lane(self, terms: Terms) -> None:
        calls = []
        for _ in range(3):
            flow: Any = writing.put(terms, "w", AGENT, "k", Put(1))
            calls.append(next(flow).call)
            with pytest.raises(StoreUnavailable):
                flow.throw(StoreUnavailable("away"))
        assert len({call.owner for call in calls}) == 1
        numbers = [int(call.call_id) for call in calls]
        assert numbers == list(range(numbers[0], numbers[0] + 3))


class TestFollowUp:
    def test_fired_items_are_published_then_settled(self, terms: Terms) -> None:
        flow: Any = writing.put(terms, "w", AGENT, "k", Put(1))
        next(flow)
        assert flow.send(committed(1, fired=2, outgoing=items("a", "b"))) == fx.Publish(items("a", "b"))
        assert flow.send(("a", "b")) == fx.Settle(3, ("a", "b"))
        assert finished(flow, None).version == 1

    def test_what_the_broker_did_not_take_is_not_settled(self, terms: Terms) -> None:
        flow = update(terms, {"k": 1})
        next(flow)
        flow.send(committed(1, fired=3, outgoing=items("a", "b", "c")))
        assert flow.send(("b",)) == fx.Settle(3, ("b",))
        assert finished(flow, None).fired == 3

    def test_a_broker_that_takes_nothing_fails_no_commit(self, terms: Terms) -> None:
        flow = update(terms, {"k": 1})
        next(flow)
        flow.send(committed(1, fired=1, outgoing=items("a")))
        assert finished(flow, ()).fired == 1

    def test_many_waiters_are_paged_through(self, terms: Terms) -> None:
        flow = update(terms, {"k": 1})
        next(flow)
        page = fx.FanOut("w", ADDRESS, committing.FAN_OUT_PAGE, "app", terms.lease_us)
        assert flow.send(committed(1, pending=(ADDRESS,))) == page
        assert flow.send(fx.FannedOut(200, items("a"), more=True)) == fx.Publish(items("a"))
        assert flow.send(("a",)) == fx.Settle(3, ("a",))
        assert flow.send(None) == page
        assert finished(flow, fx.FannedOut(17, (), more=False)).fired == 217

    def test_the_sweep_does_the_rest_of_very_many(self, terms: Terms) -> None:
        flow = update(terms, {"k": 1})
        next(flow)
        flow.send(committed(1, pending=(ADDRESS,)))
        for _ in range(committing.FAN_OUT_PAGES - 1):
            flow.send(fx.FannedOut(200, (), more=True))
        assert finished(flow, fx.FannedOut(200, (), more=True)).fired == 200 * committing.FAN_OUT_PAGES


NOWHERE: Any = (None, [], None)
"""The reply about a global context that nobody has written to."""


class TestViews:
    def view(self, terms: Terms) -> Any:
        return viewing.view(terms, "w", AGENT)

    def pages(self, *keys: str) -> list[tuple[str, bytes]]:
        return [(f"w\0\0{key}", record(key)) for key in keys]

    def first(self, terms: Terms) -> Any:
        """Begin a look with nothing kept; both workflows' first pages are asked for at once."""
        flow = self.view(terms)
        pages = tuple(fx.LoadPage(home, "", "", 1_000) for home in ("w", GLOBAL_WORKFLOW))
        assert next(flow) == fx.Batch(pages)
        return flow

    def test_pages_of_one_revision_make_one_view(self, terms: Terms) -> None:
        flow = self.first(terms)
        page = (HEAD, self.pages("a", "b"), "w\0\0b")
        assert flow.send((page, NOWHERE)) == fx.LoadPage("w", "", "w\0\0b", 1_000)
        seen = finished(flow, (HEAD, self.pages("c"), None))
        assert (set(seen), seen.revision, seen.global_revision) == ({"a", "b", "c"}, 7, 0)

    def test_a_commit_between_two_pages_starts_again(self, terms: Terms) -> None:
        newer = fx.Head("incarnation", 8, b"commit 2", 0, b"", 1_000)
        flow = self.first(terms)
        flow.send(((HEAD, self.pages("a", "b"), "w\0\0b"), NOWHERE))
        assert flow.send((newer, self.pages("c"), None)) == fx.LoadPage("w", "", "", 1_000)
        seen = finished(flow, (newer, self.pages("c", "d"), None))
        assert (set(seen), seen.revision) == ({"c", "d"}, 8)

    def test_where_commits_never_stop_it_is_read_in_one_piece(self, terms: Terms) -> None:
        flow = self.first(terms)
        effect: Any = flow.send(((HEAD, self.pages("a"), "w\0\0a"), NOWHERE))
        for revision in range(20):
            head = fx.Head("incarnation", revision, b"%08d" % revision, 0, b"", 1_000)
            assert isinstance(effect, fx.LoadPage)
            if effect.limit > 1_000:
                assert effect.after == ""
                assert set(finished(flow, (head, self.pages("a", "b", "c"), None))) == {"a", "b", "c"}
                return
            effect = flow.send((head, self.pages("a"), "w\0\0a"))
        pytest.fail("it went on paging")

    @pytest.mark.parametrize("other", [("another", 7, COMMIT), ("incarnation", 7, b"commit 2")])
    def test_the_same_number_is_not_the_same_revision(self, terms: Terms, other: tuple[str, int, bytes]) -> None:
        flow = self.first(terms)
        flow.send(((HEAD, self.pages("a"), "w\0\0a"), NOWHERE))
        assert flow.send((fx.Head(*other, 0, b"", 1_000), [], None)) == fx.LoadPage("w", "", "", 1_000)
        flow.close()

    def looked(self, terms: Terms) -> None:
        assert set(finished(self.first(terms), ((HEAD, self.pages("a", "b"), None), NOWHERE))) == {"a", "b"}

    def again(self, terms: Terms) -> Any:
        flow = self.view(terms)
        since = fx.LoadSince("w", "incarnation", 7, COMMIT, viewing.CATCH_UP)
        assert next(flow) == fx.Batch((since, fx.LoadPage(GLOBAL_WORKFLOW, "", "", 1_000)))
        return flow

    def test_what_is_kept_is_only_brought_up_to_date(self, terms: Terms) -> None:
        self.looked(terms)
        assert set(finished(self.again(terms), (fx.Since(HEAD, "same"), NOWHERE))) == {"a", "b"}
        newer = fx.Head("incarnation", 9, b"commit 3", 0, b"", 1_000)
        changed = fx.Since(newer, "changed", {"w\0\0a": None, "w\0\0c": record(1)})
        seen = finished(self.again(terms), (changed, NOWHERE))
        assert (set(seen), seen.revision) == ({"b", "c"}, 9)

    def test_what_cannot_be_brought_up_to_date_is_read_anew(self, terms: Terms) -> None:
        self.looked(terms)
        flow = self.again(terms)
        newer = fx.Head("incarnation", 900, b"commit 3", 0, b"", 1_000)
        assert flow.send((fx.Since(newer, "reload"), NOWHERE)) == fx.LoadPage("w", "", "", 1_000)
        assert set(finished(flow, (newer, self.pages("z"), None))) == {"z"}

    def test_a_workflow_that_is_gone_is_not_kept(self, terms: Terms) -> None:
        self.looked(terms)
        flow = self.again(terms)
        with pytest.raises(WorkflowNotFound):
            flow.send((fx.Since(None, "reload"), NOWHERE))
        self.first(terms).close()


class TestSweeps:
    def flow_of(self, terms: Terms, dues: Iterable[fx.Due], limit: int = 100) -> tuple[Any, Any]:
        flow: Any = sweeping.sweep(terms, limit)
        assert next(flow) == fx.PeekDue(tuple(range(8)), limit + 1)
        return flow, flow.send(list(dues))

    def test_an_expiry_goes_on_until_nothing_more_is_due(self, terms: Terms) -> None:
        flow, effect = self.flow_of(terms, [fx.Due(0, "expiry", "w", "", 1)])
        assert (effect.workflow_id, effect.limit) == ("w", 100)
        effect = flow.send(fx.Expired(60, 0, more=True))
        assert effect.limit == 40
        report = finished(flow, fx.Expired(30, 0, more=False))
        assert (report.scanned, report.expired, report.kept, report.complete) == (1, 90, 0, True)

    def test_the_limit_ends_it_early(self, terms: Terms) -> None:
        flow, _ = self.flow_of(terms, [fx.Due(0, "expiry", "w", "", 1)] * 2)
        report = finished(flow, fx.Expired(100, 0, more=True))
        assert (report.scanned, report.expired, report.complete) == (1, 100, False)

    def test_deadlines_and_standbys_are_released(self, terms: Terms) -> None:
        kinds: tuple[Any, ...] = ("deadline", "standby", "ready")
        dues = [fx.Due(0, kind, "w", "r", 1) for kind in kinds]
        flow, effect = self.flow_of(terms, dues)
        assert effect == fx.Release(dues[0], terms.lease_us, terms.bounds.horizon_us)
        assert flow.send("sent") == fx.Release(dues[1], terms.lease_us, terms.bounds.horizon_us)
        assert flow.send("given_up") == fx.Release(dues[2], terms.lease_us, terms.bounds.horizon_us)
        report = finished(flow, "kept")
        assert (report.scanned, report.kept) == (3, 1)

    def test_fan_out_is_published(self, terms: Terms) -> None:
        flow, effect = self.flow_of(terms, [fx.Due(0, "fan_out", "w", ADDRESS, 1)])
        assert effect == fx.FanOut("w", ADDRESS, committing.FAN_OUT_PAGE, "app", terms.lease_us)
        assert flow.send(fx.FannedOut(1, items("a"), more=True)) == fx.Publish(items("a"))
        assert flow.send(("a",)) == fx.Settle(3, ("a",))
        assert isinstance(flow.send(None), fx.FanOut)
        assert finished(flow, fx.FannedOut(0, (), more=False)).scanned == 1

    def test_resend_settles_only_what_was_taken_by_shard(self, terms: Terms) -> None:
        flow: Any = sweeping.resend(terms, 1_000)
        assert isinstance(next(flow), fx.TakeOutgoing)
        a, b, c = items("a", "b", "c")
        assert flow.send([(1, a), (2, b), (1, c)]) == fx.Publish((a, b, c))
        settles = [flow.send(("a", "b")), flow.send(None)]
        assert sorted(settles, key=repr) == [fx.Settle(1, ("a",)), fx.Settle(2, ("b",))]
        assert isinstance(flow.send(None), fx.TakeOutgoing)
        assert finished(flow, []) == 2

    def test_resend_stops_when_the_broker_takes_nothing(self, terms: Terms) -> None:
        flow: Any = sweeping.resend(terms, 1_000)
        next(flow)
        for _ in range(50):
            if isinstance(flow.send([(1, items("a")[0])]), fx.Publish):
                try:
                    flow.send(())
                except StopIteration:
                    return
        pytest.fail("it went on taking items from the outbox of which the broker takes none")


def test_a_task_is_known_by_its_id_for_as_long_as_it_may_be_parked(terms: Terms) -> None:
    """One that waits longer than the setting says could not be cancelled once it had been forgotten."""
    day, setting = 86_400_000_000, int(terms.settings.needs_timeout * 1_000_000)
    for waits, remembered_us in ((0.0, setting), (7 * 86_400.0, 7 * day)):
        ticket = attempts.Ticket("w", "r", fx.Position(0, 0), "item", "task", may_wait=waits)
        batch = next(attempts.claim(terms, ticket, AGENT, None, lambda: b"message"))
        assert isinstance(batch, fx.Batch)
        assert batch.effects[1] == fx.Bind("task", "w", "r", terms.bounds.horizon_us + remembered_us)


def test_a_page_of_changes_reads_no_more_of_the_log_than_it_may_need(terms: Terms) -> None:
    flow = histories.changes(terms, "w", AGENT, 0, 2, None)
    first = next(flow)
    assert isinstance(first, fx.LoadLog)
    assert first.limit == 4  # the two, one that a cursor stands at, and one to see whether there are more
    assert (first.enough, first.max_bytes < 1_000) == (3, True)  # or one record, if it holds as many
    change = fx.Logged("put", ADDRESS, 1, 0, sensitive=False)
    page = finished(flow, (HEAD, 1, [fx.LogRecord(number, COMMIT, "writer", 1_000, (change,)) for number in (1, 2, 3)]))
    assert [each.revision for each in page.items] == [1, 2]
    assert page.next_cursor is not None


def test_where_most_is_hidden_a_page_of_changes_reads_whole_pages_of_the_log(terms: Terms) -> None:
    flow = histories.changes(terms, "w", AGENT, 0, 2, None)
    next(flow)
    hidden = fx.Logged("put", ADDRESS, 1, 0, sensitive=True)
    second = flow.send((HEAD, 1, [fx.LogRecord(number, COMMIT, "writer", 1_000, (hidden,)) for number in (1, 2, 3, 4)]))
    assert isinstance(second, fx.LoadLog)
    assert (second.from_revision, second.limit, second.enough) == (5, LOG_PAGE, 8 * 3)
    assert finished(flow, (HEAD, 1, [])).items == ()


def test_what_a_page_has_no_room_for_is_not_decoded() -> None:
    change = ("p", ADDRESS, 1, 0, 0)
    record = msgspec.msgpack.encode(("writer", 1_000, *change * 200))
    head = (b"incarnation", b"9", COMMIT, b"1", b"", b"1000", b"0", b"0")
    reply = [*head, b"1-1", *(part for number in range(1, 10) for part in (b"%d-1" % number, COMMIT, record))]
    decode = CODECS[fx.LoadLog].decode
    for enough, records in ((1, 1), (200, 1), (201, 2), (10_000, 9)):
        _, _, found = decode(fx.LoadLog("w", 1, 1_000, enough=enough), [reply])
        assert [len(each.changes) for each in found] == [200] * records
