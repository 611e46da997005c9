"""One trace from who publishes a task through commits and triggers to the tasks that depend on them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ctxqueue
from ctxqueue import AccessDenied, ConfigurationError, all_of
from ctxqueue.observability import tracing
from tests.integration.deployments import Deployment
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from ctxqueue.integration.install import ContextQueue


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", lambda: provider.get_tracer("ctxqueue"))
    monkeypatch.setattr("ctxqueue.integration.tracing.tracer", lambda: provider.get_tracer("ctxqueue"))
    return exporter


@pytest.fixture
def queue() -> Iterator[ContextQueue]:
    app = Celery("traced", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.update(ctxqueue_tracing=True, worker_hijack_root_logger=False)
    app.conf.broker_transport_options = {"polling_interval": 0.02}
    queue = ctxqueue.install(app, backend_url="memory://")

    @queue.task(name="extract", agent_type="extractor")
    def extract(self: Any) -> None:
        self.context.update({"revenue": 1, "api_key": "s3cret"})

    @queue.task(name="parked", agent_type="analyst", needs="revenue")
    def parked(self: Any) -> int:
        return int(self.context["revenue"])

    @queue.task(name="triggered", agent_type="analyst")
    def triggered(self: Any) -> None:
        self.context.put("done", 1)

    yield queue
    queue.manager.close()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def test_one_trace_leads_from_the_producer_to_what_depends_on_it(
    queue: ContextQueue, exporter: InMemorySpanExporter
) -> None:
    wf = queue.workflow("q3")
    wf.open()
    tracer = tracing.tracer()
    tasks = queue.app.tasks
    with start_worker(queue.app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        with tracer.start_as_current_span("arming"):
            wf.when(all_of("revenue")).then(tasks["triggered"].s())
        with tracer.start_as_current_span("waiting") as waiting, wf:
            result = tasks["parked"].delay()
        wait_until(lambda: str(result.state) == "WAITING", "it waits")
        with tracer.start_as_current_span("producing") as producing, wf:
            tasks["extract"].delay()
        assert result.get(SECONDS, interval=0.02) == 1
        wait_until(lambda: wf.get("done") is not None and named(exporter, "run triggered"), "it has run")
    extract, triggered = named(exporter, "run extract")[0], named(exporter, "run triggered")[0]
    ours = producing.get_span_context()
    assert extract.parent is not None
    assert (extract.parent.span_id, extract.context.trace_id) == (ours.span_id, ours.trace_id)
    assert triggered.context.trace_id == ours.trace_id
    (commit,) = [span for span in named(exporter, "ctxqueue update") if span.context.trace_id == ours.trace_id]
    assert commit.parent is not None
    assert commit.parent.span_id == extract.context.span_id
    (launch,) = named(exporter, "run ctxqueue.launch_canvas")
    assert launch.parent is not None
    assert launch.parent.span_id == commit.context.span_id
    went_on = named(exporter, "run parked")[-1]
    assert went_on.context.trace_id == waiting.get_span_context().trace_id
    assert [link.context.span_id for link in went_on.links] == [commit.context.span_id]


def test_an_eager_task_that_retries_ends_each_of_its_spans(queue: ContextQueue, exporter: InMemorySpanExporter) -> None:
    queue.app.conf.task_always_eager = True

    @queue.task(name="stubborn", agent_type="analyst")
    def stubborn(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    with queue.workflow("q3") as wf:
        wf.open()
        assert queue.app.tasks["stubborn"].delay().get() == 2
    assert len(named(exporter, "run stubborn")) == 3
    assert not trace.get_current_span().get_span_context().is_valid


def test_no_value_is_in_a_span_and_keys_only_where_they_are_asked_for(
    queue: ContextQueue, exporter: InMemorySpanExporter
) -> None:
    wf = queue.workflow("q3", agent_id="analyst_1")
    wf.open()
    wf.update({"revenue": "told", "api_key": "s3cret"})
    with pytest.raises(AccessDenied):
        wf.get("revenue", group="others")
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert len(spans) == 2
    assert not [span for span in spans if "told" in span or "s3cret" in span or "revenue" in span]
    assert "AccessDenied" in spans[1]


def test_keys_are_told_but_for_secret_ones(exporter: InMemorySpanExporter) -> None:
    app = Celery("keys", set_as_current=False)
    app.conf.update(ctxqueue_tracing=True, ctxqueue_trace_keys=True)
    queue = ctxqueue.install(app, backend_url="memory://")
    wf = queue.workflow("q3")
    wf.open()
    wf.update({"revenue": 1, "api_key": 2, "quiet": ctxqueue.Put(3, sensitive=True)})
    (span,) = named(exporter, "ctxqueue update")
    assert span.attributes is not None
    assert span.attributes["ctxqueue.keys"] == ("revenue",)
    queue.manager.close()


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "ctxqueue.observability.tracing")
    app = Celery("lacking", set_as_current=False)
    queue = ctxqueue.install(app, backend_url="memory://")
    app.conf.update(ctxqueue_tracing=True)
    with pytest.raises(ConfigurationError, match=r"pip install 'ctxqueue\[tracing\]'"):
        queue.workflow("q3")


def test_what_is_published_outside_any_span_carries_none(queue: ContextQueue) -> None:
    from ctxqueue.integration import tracing as of_messages  # noqa: PLC0415 - loaded once tracing is on

    assert queue.app.conf.ctxqueue_tracing
    headers: dict[str, Any] = {}
    of_messages.inject(headers)
    assert headers == {}
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))):
        of_messages.inject(headers)
    assert list(headers) == [of_messages.TRACE]


# --- processes -------------------------------------------------------------------------------------------------------


def spans_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the spans that the processes have ended, by their ids."""
    found = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return {span["context"]["span_id"]: span for span in found}


def way_up(span: dict[str, Any] | None, spans: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the names of a span and of those above it that were made in workers, and last the id above them."""
    above = ""
    while span is not None:
        yield span["name"]
        above = span["parent_id"]
        span = spans.get(above)
    yield above


def test_one_trace_goes_through_the_processes_and_nothing_of_what_was_written_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    monkeypatch.setenv("SPANS", str(tmp_path))
    with Deployment("traced", tmp_path, {"ctxqueue_tracing": True}) as site:
        site.worker()
        wf = site.workflow("traced")
        wf.put("rates", "canary of the producer")
        wf.when(all_of("canary_revenue")).then(site.task("triggered").s("canary argument"))
        with wf:
            with tracing.tracer().start_as_current_span("asking") as asking:
                waiting = site.task("calculate").delay()
            wait_until(lambda: waiting.state == "WAITING", "it waits")
            with tracing.tracer().start_as_current_span("producing") as producing:
                site.task("extract").delay("canary value")
        assert waiting.get(SECONDS) == "calculated"

        def ran() -> dict[str, dict[str, Any]]:
            spans = spans_of(tmp_path)
            names = [span["name"] for span in spans.values() if span["attributes"].get("celery.state") == "FAILURE"]
            return spans if "run triggered" in names else {}

        spans = wait_until(ran, "the triggered task has run, and failed")
    of_one = {key: span for key, span in spans.items() if span["context"]["trace_id"] == ids(producing)[0]}
    (refused,) = (span for span in of_one.values() if span["attributes"].get("error.type"))
    assert (refused["name"], refused["attributes"]["error.type"]) == ("ctxqueue put", "VersionConflict")
    assert list(way_up(refused, of_one)) == [
        *("ctxqueue put", "run triggered", "run ctxqueue.launch_canvas", "ctxqueue update", "run extract"),
        ids(producing)[1],
    ]
    (commit,) = (key for key, span in of_one.items() if span["name"] == "ctxqueue update")
    first, second = (span for span in spans.values() if span["name"] == "run calculate")
    assert {span["context"]["trace_id"] for span in (first, second)} == {ids(asking)[0]}
    assert [link["context"]["span_id"] for link in (*first["links"], *second["links"])] == [commit]
    everything = [path.read_text() for path in tmp_path.glob("*.jsonl")]
    everything += [span.to_json() for span in exporter.get_finished_spans()]
    assert not [text for text in everything if "canary" in text]


def ids(span: trace.Span) -> tuple[str, str]:
    """Return the ids of a span's trace and of itself, as an exporter writes them."""
    context = span.get_span_context()
    return f"0x{context.trace_id:032x}", f"0x{context.span_id:016x}"
