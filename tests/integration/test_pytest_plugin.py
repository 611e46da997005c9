"""The pytest plugin, as a team's suite uses it: runs of pytest in a directory of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

APP = """
from celery import Celery
import ctxqueue
from ctxqueue import all_of

app = Celery("proj", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
ctx = ctxqueue.install(app)

@ctx.task(name="calculate", agent_type="financial_calculator", needs=all_of("revenue", "exchange_rates"))
def calculate(self, quarter):
    euros = self.context["revenue"] / self.context["exchange_rates"]
    self.context.put("results", euros)
    return quarter

@ctx.task(name="fetch", agent_type="web_extractor")
async def fetch(self):
    await self.acontext.put("revenue", 10)
"""


def passed(pytester: pytest.Pytester, suite: str, *options: str, count: int = 1) -> None:
    """The suite passes, run as a team would run it."""
    pytester.makepyfile(test_suite=suite)
    pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:valkey", *options).assert_outcomes(passed=count)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(proj=APP)
    pytester.makeini("[pytest]\nctxqueue_app = proj:app\npythonpath = .\nfilterwarnings = error\n")
    return pytester


def test_without_any_setting_there_is_an_app_to_try_things_on(pytester: pytest.Pytester) -> None:
    passed(
        pytester,
        """
        def test_it(ctx):
            @ctx.task(agent_type="analyst", needs="question")
            def answer(self):
                return self.context["question"] * 2

            wf = ctx.workflow("w", agent_id="asker")
            wf.open()
            wf.put("question", 21)
            with wf:
                assert answer.delay().get() == 42
            assert ctx.enqueue_update("w", "asker", {"more": 1}).get()["versions"] == {"more": 1}
        """,
    )


def test_the_teams_own_tasks_run_without_any_server(project: pytest.Pytester) -> None:
    passed(
        project,
        """
        import pytest
        from celery import chain
        from ctxqueue import DependencyNotReady
        from proj import app, calculate, ctx as ours, fetch

        def test_a_missing_key(ctx):
            wf = ctx.workflow("w", agent_id="a")
            wf.open()
            wf.put("revenue", 10)
            with wf, pytest.raises(DependencyNotReady, match="exchange_rates"):
                calculate.delay("Q3")
            assert ctx.parked == [("calculate", "w", ("exchange_rates",))]
            assert ctx.fired == []

        def test_a_chain(ctx):
            wf = ctx.workflow("w", agent_id="a")
            wf.open()
            wf.put("exchange_rates", 4)
            with wf:
                assert chain(fetch.si(), calculate.si("Q3")).delay().get() == "Q3"
            assert wf["results"] == 2.5
            assert ctx.parked == []
            assert ctx.fired == [("calculate", "w", ("revenue", "exchange_rates"))]
            assert ours.workflow("w")["results"] == 2.5

        def test_each_test_has_an_empty_store(ctx):
            assert ctx.workflow("w").open().revision == 0

        def test_afterwards_the_app_is_as_it_was():
            assert not app.conf.task_always_eager
            assert not app.conf.task_eager_propagates
            assert "redis" in type(ours.manager.store).__module__
            assert ours.watcher is None
        """,
        count=4,
    )


def test_what_would_come_later_is_done_at_once_too(project: pytest.Pytester) -> None:
    passed(
        project,
        """
        import asyncio
        import pytest
        from ctxqueue import Put, VersionConflict
        from proj import ctx as ours

        @ours.task(name="moody", agent_type="web_extractor", autoretry_for=(LookupError,), max_retries=2)
        def moody(self, moods):
            self.context.update({"tries": [self.request.retries]}, merge_strategy="append")
            if self.request.retries < moods:
                raise LookupError(moods)
            return moods

        def test_retries(ctx):
            wf = ctx.workflow("w", agent_id="a")
            wf.open()
            with wf:
                assert moody.delay(2).get() == 2
                assert wf["tries"] == [0, 1, 2]
                with pytest.raises(LookupError):
                    moody.delay(3)

        def test_an_update_that_is_coalesced_as_a_task(ctx):
            wf = ctx.workflow("w", agent_id="a")
            wf.open()
            result = ctx.enqueue_update("w", "a", {"k": 1}, coalesce=True, as_task=True)
            assert result.get(timeout=1) == {"revision": 1, "versions": {"k": 1}, "replayed": False}
            ctx.app.conf.task_eager_propagates = False
            wrong = {"k": Put(2, expected_version=7)}
            with pytest.raises(VersionConflict):
                ctx.enqueue_update("w", "a", wrong, coalesce=True, as_task=True).get(timeout=1)

            async def awaited():
                return await ctx.aio.enqueue_update("w", "a", {"k": 3}, coalesce=True, as_task=True)

            assert asyncio.run(awaited()).get(timeout=1)["versions"] == {"k": 2}

        def test_a_task_that_has_ended_is_not_called_off(ctx):
            assert ctx.cancel("any") is False
        """,
        count=3,
    )


def test_time_passes_when_a_test_says_so(project: pytest.Pytester) -> None:
    passed(
        project,
        """
        import time
        import pytest
        from ctxqueue import DependencyNotReady, InvalidDuration
        from proj import calculate

        def test_expiry(ctx):
            wf = ctx.workflow("w", agent_id="a")
            wf.open()
            wf.update({"revenue": 10})
            entry = wf.put("exchange_rates", 4, ttl=3600)
            ctx.advance(3599)
            with wf:
                calculate.delay("Q3")
            report = ctx.advance(2)
            assert report.expired == 1
            assert wf.get("exchange_rates") is None
            with wf, pytest.raises(DependencyNotReady):
                calculate.delay("Q3")
            assert ctx.parked[0].keys == ("exchange_rates",)
            later = wf.put("exchange_rates", 5, ttl=3600)
            assert (later.expires_at - entry.expires_at).total_seconds() == 3601
            with pytest.raises(InvalidDuration):
                ctx.advance(-1)

        def test_a_workflow_nobody_writes_to_ends(ctx):
            ctx.workflow("w").open()
            ctx.advance(25 * 3600)
            assert ctx.workflow("w").open().metadata == {}
        """,
        count=2,
    )


def test_a_suite_may_name_its_app_by_a_fixture(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\npythonpath = .\n")
    passed(
        project,
        """
        import pytest
        import proj

        @pytest.fixture
        def ctxqueue_app():
            return proj.app

        def test_it(ctx):
            assert ctx.app is proj.app
            assert ctx.queue is proj.ctx
        """,
    )


def test_a_suite_that_does_not_use_it_loads_nothing(pytester: pytest.Pytester) -> None:
    passed(
        pytester,
        """
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("ctxqueue")
            heavy = ("celery", "kombu", "redis", "sqlalchemy", "numpy", "msgspec")
            assert [name for name in heavy if name in sys.modules] == []
            assert sorted(name for name in sys.modules if name.startswith("ctxqueue.")) == [
                "ctxqueue.testing", "ctxqueue.testing.plugin",
            ]
        """,
    )


def test_triggers_and_subscriptions_run_right_after_the_commit(pytester: pytest.Pytester) -> None:
    passed(
        pytester,
        """
        import pytest
        from celery import chain, chord, group
        from ctxqueue import all_of, changed_by, key

        @pytest.fixture
        def wf(ctx):
            wf = ctx.workflow("w", agent_id="web_extractor_1")
            wf.open()
            return wf

        def tasks(ctx):
            @ctx.task(name="note", agent_type="noter")
            def note(self, *given):
                self.context.update({"noted": [[list(given), self.cause["keys"]]]}, merge_strategy="append")
                return 1

            @ctx.task(name="wrong", agent_type="noter")
            def wrong(self):
                raise ValueError("it fails")

            return note, wrong

        def test_once(ctx, wf):
            note, _ = tasks(ctx)
            trigger = wf.when(all_of("a", key("b") > 1)).then(chain(note.si(1), note.si(2)))
            wf.put("a", 1)
            assert wf.get("noted") is None
            wf.put("b", 2)
            assert wf["noted"] == [[[1], ["a", "b"]], [[2], ["a", "b"]]]
            assert [each.state for each in wf.triggers()] == ["FIRED"]
            assert ctx.fired == [("celery.chain", "w", ("a", "b"))]
            wf.put("b", 3)
            assert len(wf["noted"]) == 2

        @pytest.mark.parametrize("kind", ["task", "group", "chord"])
        def test_each_time(ctx, wf, kind):
            note, _ = tasks(ctx)
            several = [note.si(1), note.si(2)]
            canvas = {"task": note.si(1), "group": group(several), "chord": chord(several, note.si(3))}[kind]
            count = {"task": 1, "group": 2, "chord": 3}[kind]
            wf.put("a", 1)
            wf.when("a").then(canvas, every=True)
            for value in (2, 3):
                wf.put("a", value)
                assert [each.state for each in wf.triggers()] == ["ARMED"]
            assert len(wf["noted"]) == 3 * count

        def test_its_time_is_up(ctx, wf):
            note, _ = tasks(ctx)
            wf.when("never").then(note.si("in time"), timeout=60, on_timeout=note.si("late"))
            ctx.advance(61)
            assert wf["noted"] == [[["late"], []]]
            ctx.advance(61)
            assert len(wf["noted"]) == 1

        def test_what_it_raises_is_raised(ctx, wf):
            _, wrong = tasks(ctx)
            wf.when("a").then(wrong.si())
            with pytest.raises(ValueError, match="it fails"):
                wf.put("a", 1)
            assert wf["a"] == 1

        def test_a_loop_ends(ctx, wf):
            @ctx.task(name="writes", agent_type="writer")
            def writes(self):
                self.context.update({"a": 1}, merge_strategy="increment")

            wf.put("a", 0)
            wf.when("a").then(writes.si(), every=True)
            assert wf["a"] == 16
            assert [each.state for each in wf.triggers()] == ["FAILED"]

        def test_a_subscription(ctx, wf):
            note, _ = tasks(ctx)
            reader = ctx.workflow("w", agent_id="reader_1")
            wf.put("rates", {"USD": 1.0})
            reader.subscribe("rates", note.si(), debounce=5, when=changed_by(0.01))
            for rate in (1.005, 1.02, 1.03):
                wf.put("rates", {"USD": rate})
            ctx.advance(3)
            assert ctx.fired == []
            ctx.advance(3)
            assert ctx.fired == [("note", "w", ("rates",))]
            assert wf["noted"] == [[[], ["rates"]]]
            ctx.advance(60)
            assert len(wf["noted"]) == 1

        def test_a_coroutine_fires_too(ctx, wf):
            note, _ = tasks(ctx)
            wf.when("revenue").then(note.si())

            @ctx.task(name="fetch", agent_type="web_extractor")
            async def fetch(self):
                await self.acontext.put("revenue", 10)

            with wf:
                fetch.delay()
            assert ctx.fired == [("note", "w", ("revenue",))]
        """,
        count=9,
    )
