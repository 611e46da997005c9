"""What happens is counted where the app asks for it, over all processes of a worker; else nothing is loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from prometheus_client import CollectorRegistry

import ctxqueue
from ctxqueue import AccessDenied, ConfigurationError, all_of
from ctxqueue.observability.exporting import StoreCollector
from ctxqueue.observability.metrics import Meters, Metrics
from ctxqueue.observability.observing import ObservedDriver
from ctxqueue.testing import EmbeddedServer
from tests.integration.apps import parking
from tests.integration.commands import told, told_as_typed
from tests.integration.deployments import ROOT, Deployment
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue


class Counted:
    """An app whose counts are its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.app = Celery("counted", set_as_current=False, broker="memory://", backend="cache+memory://")
        self.queue: ContextQueue = ctxqueue.install(self.app, backend_url="memory://")
        manager = self.queue.manager
        metrics = Metrics("default", Meters(self.registry))
        manager.driver = ObservedDriver(manager.store, manager.driver.publisher, metrics)
        self.wf: WorkflowHandle = self.queue.workflow("q3", agent_id="analyst_1")
        self.wf.open()

    def __getitem__(self, name: str) -> float:
        return self.of(name)

    def of(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"ctxqueue_{name}", {"namespace": "default", **labels})
        assert value is not None, name
        return value


@pytest.fixture
def counted() -> Iterator[Counted]:
    counted = Counted()
    yield counted
    counted.queue.manager.close()


def test_commits_replays_conflicts_and_retries_are_counted(counted: Counted) -> None:
    wf = counted.wf
    wf.put("k", [1])
    wf.update({"k": [2], "m": 1}, operation_id="once")
    wf.update({"k": [3], "m": 1}, operation_id="once")
    assert (counted["commits_total"], counted["replays_total"], counted["divergences_total"]) == (2, 1, 1)
    assert (counted["written_entries_total"], counted["written_bytes_total"] > 3) == (3, True)
    assert (counted["conflicts_total"], counted["retries_total"]) == (0, 0)
    with pytest.raises(ctxqueue.VersionConflict):
        wf.put("k", 4, expected_version=1)
    assert (counted["conflicts_total"], counted["retries_total"]) == (1, 0)
    wf.update({"deep": {"a": 1}})
    other = ctxqueue.SharedContextManager(counted.queue.manager.store).workflow("q3", agent_id="other_1")
    other.put("deep", {"b": 2})  # this process believes it knows what stands there
    wf.update({"deep": {"c": 3}})
    assert (counted["conflicts_total"], counted["retries_total"]) == (2, 1)
    assert counted.of("call_seconds_count", call="update") == 4


def test_what_is_denied_armed_fired_late_and_expired_is_counted(counted: Counted) -> None:
    with pytest.raises(AccessDenied):
        counted.wf.get("k", group="others")
    assert (counted["denied_total"], counted.of("errors_total", error="AccessDenied")) == (1, 1)
    signature = counted.app.signature("nothing")
    counted.wf.when(all_of("a")).then(signature)
    counted.wf.when(all_of("never")).then(signature, timeout=0.000_001)
    assert counted.of("armed_total", kind="trigger") == 2
    counted.wf.put("a", 1, ttl=0.000_001)
    assert counted["fired_total"] == 1
    counted.queue.manager.cleanup_expired_contexts()
    assert (counted["late_total"], counted["expired_total"]) == (1, 1)
    assert counted.of("call_seconds_count", call="sweep") == 1


def test_each_firing_of_what_fires_again_is_counted(counted: Counted) -> None:
    signature = counted.app.signature("nothing")
    counted.wf.subscribe("watched", signature)
    counted.wf.when(all_of("watched")).then(signature, every=True)
    assert counted.of("armed_total", kind="trigger") == 2
    other = counted.queue.workflow("q3", agent_id="other_1")  # nobody is notified of what they wrote themselves
    other.put("watched", 1)
    assert counted["fired_total"] == 2
    other.put("watched", 2)  # the trigger's run has not ended
    assert counted["fired_total"] == 3


def test_more_workflows_keys_and_agents_make_no_more_series(counted: Counted) -> None:
    def series() -> int:
        return sum(len(family.samples) for family in counted.registry.collect())

    def work(number: int) -> None:
        wf = counted.queue.workflow(f"w{number}", agent_id=f"agent_{number}")
        wf.open()
        wf.put(f"k{number}", number)
        wf.view()

    work(0)
    before = series()
    for number in range(1, 20):
        work(number)
    assert (series(), counted["commits_total"]) == (before, 20)


def test_recall_and_embedding_are_timed() -> None:
    app = Celery("remembering", set_as_current=False)
    app.conf.update(ctxqueue_metrics=True, ctxqueue_namespace="remembering")
    queue = ctxqueue.install(app, backend_url="memory://")
    queue.memory.remember("water boils at 100 degrees")
    queue.memory.recall("what boils")
    metrics = importable_registry()
    for name, labels in (("call", {"call": "recall"}), ("work", {"work": "embed"}), ("work", {"work": "search"})):
        count = metrics.get_sample_value(f"ctxqueue_{name}_seconds_count", {"namespace": "remembering", **labels})
        assert count == 1, (name, labels)
    queue.manager.close()


def importable_registry() -> CollectorRegistry:
    from prometheus_client import REGISTRY  # noqa: PLC0415 - the one that an app's own page shows

    return REGISTRY


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "ctxqueue.observability.metrics")
    app = Celery("lacking", set_as_current=False)
    app.conf.update(ctxqueue_metrics=True)
    queue = ctxqueue.install(app, backend_url="memory://")
    with pytest.raises(ConfigurationError, match=r"pip install 'ctxqueue\[metrics\]'"):
        queue.workflow("q3")


def test_nothing_is_loaded_where_nobody_observes() -> None:
    code = (
        "import sys, ctxqueue; from celery import Celery; app = Celery('quiet', broker='memory://');"
        " q = ctxqueue.install(app, backend_url='memory://'); wf = q.workflow('w'); wf.open(); wf.put('k', 1);"
        " print([m for m in sys.modules if m.startswith(('prometheus', 'ctxqueue.observ', 'ctxqueue.integration.tr'))])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- what stands in the store ----------------------------------------------------------------------------------------


def test_a_survey_counts_what_stands_in_the_store(counted: Counted) -> None:
    counted.wf.update({"a": 1, "b": 2})
    counted.wf.when(all_of("never")).then(counted.app.signature("nothing"))
    registry = CollectorRegistry()
    collector = StoreCollector(counted.queue.manager, 60.0)
    registry.register(collector)
    assert registry.get_sample_value("ctxqueue_entries", {"namespace": "default"}) is None
    collector.survey()
    found = {name: registry.get_sample_value(f"ctxqueue_{name}", {"namespace": "default"}) for name in GAUGES}
    assert found == GAUGES | {"bytes": found["bytes"], "survey_age_seconds": found["survey_age_seconds"]}
    assert registry.get_sample_value("ctxqueue_parked", {"namespace": "default", "age": "1m"}) == 0


GAUGES: dict[str, float | None] = {
    **dict.fromkeys(("store_up", "workflows", "triggers_armed"), 1),
    **dict.fromkeys(("overdue", "oldest_overdue_seconds", "outbox_items", "outbox_age_seconds", "dead_letters"), 0),
    "entries": 2,
    "stored_updates": 0,
    "bytes": None,
    "survey_age_seconds": None,
}


def test_a_store_that_is_away_is_down_and_no_error() -> None:
    app = Celery("away", set_as_current=False)
    queue = ctxqueue.install(app, backend_url="redis://127.0.0.1:1/0")
    registry = CollectorRegistry()
    registry.register(StoreCollector(queue.manager, 60.0))
    assert registry.get_sample_value("ctxqueue_store_up", {"namespace": "default"}) == 0
    queue.manager.close()


def test_a_store_that_stands_still_is_down_before_prometheus_gives_up() -> None:
    with EmbeddedServer() as server, ctxqueue.connect(server.url()) as manager:
        registry = CollectorRegistry()
        registry.register(StoreCollector(manager, 60.0, patience=0.05))

        def up() -> float | None:
            return registry.get_sample_value("ctxqueue_store_up", {"namespace": "default"})

        wait_until(lambda: up() == 1, "the store is up")
        server.pause()
        assert up() == 0  # a call would try for half a minute
        server.resume()
        wait_until(lambda: up() == 1, "it is up again")


# --- a worker and the exporter, as they run --------------------------------------------------------------------------


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - a test's own
        return str(answer.read().decode())


@contextmanager
def exporting(url: str) -> Iterator[str]:
    settings = {"sample_url": None, "broker_url": url, "result_backend": url}
    environment = {**os.environ, "SAMPLE_APP": parking.__name__, "SAMPLE_SETTINGS": json.dumps(settings)}
    words = [sys.executable, "-m", "celery", "-A", "tests.integration.apps.entry", "ctx", "exporter", "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        running.send_signal(signal.SIGTERM)
        assert running.wait(SECONDS) == 0


BOTH = {"ctxqueue_metrics": True, "ctxqueue_note_reads": True}


def test_a_forking_worker_shows_what_its_processes_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    with EmbeddedServer() as server, Deployment("parking", tmp_path, BOTH, server) as site:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
        site.worker("--max-tasks-per-child", "1", ctxqueue_metrics_port=0)
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
        (line,) = [line for line in site.log().splitlines() if "ctxqueue_metrics: http://" in line]
        address = line.rpartition("ctxqueue_metrics: ")[2]
        workflow = site.workflow()
        with workflow:
            result: Any = site.task("sum_up").delay()
        wait_until(lambda: result.state == "WAITING", "it waits")
        with exporting(server.url()) as store:
            wait_until(lambda: 'ctxqueue_parked{age="1m",namespace="default"} 1.0' in page(store), "it is surveyed")
        workflow.update({"revenue": 40, "rates": 2, "waste": 0})
        assert result.get(SECONDS) == [42]
        shown = page(address)
        assert 'ctxqueue_armed_total{kind="task",namespace="default"} 1.0' in shown
        assert 'ctxqueue_parked_seconds_count{namespace="default"} 1.0' in shown
        assert [row["key"] for row in told(site.queue.app, "unread", "--json").rows()] == ["waste"]
        (stats,) = site.app.control.inspect(timeout=SECONDS, limit=1)._request("ctxqueue_stats").values()  # noqa: SLF001 - as `celery inspect` does
        assert (stats["namespace"], stats["metrics"], stats["outbox"]) == ("default", True, 0)
        assert "ctxqueue_metrics: this worker forks" not in site.log()
        assert (folder / "counter_ended.db").exists()  # each task had a process of its own


def test_celery_inspect_knows_of_the_command() -> None:
    assert "ctxqueue_stats" in told_as_typed("inspect", "--list").stdout
