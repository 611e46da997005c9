"""The dashboard and the alert rules that are shipped, against the metrics that there are, and a real Prometheus."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ctxqueue import connect
from ctxqueue.observability.exporting import StoreCollector
from ctxqueue.observability.metrics import Meters, Metrics
from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.processes import KeptProcess
from tests.integration.deployments import ROOT
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = ROOT / "config"
NAME = re.compile(r"\bctxqueue_\w+")
JOB = (
    "import sys; from pathlib import Path; from workers import consolidate; source = Path(sys.argv[1]);"
    " consolidate.start('job', source, Path(sys.argv[2]), consolidate.plan(source))"
)
RECALL = (
    "from workers.app import ctx; who = {'agent_id': 'analyst_1'};"
    " ctx.memory.enqueue_remember('water boils at 100 degrees', **who).get(60);"
    " ctx.memory.enqueue_recall('what boils', **who).get(60)"
)
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


def queries() -> list[str]:
    dashboard = json.loads((CONFIG / "grafana" / "ctxqueue.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def rules() -> list[str]:
    groups = yaml.safe_load((CONFIG / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_what_the_dashboard_and_the_alerts_ask_for_is_there() -> None:
    registry = CollectorRegistry()
    Metrics("default", Meters(registry))
    with connect("memory://") as manager:
        collector = StoreCollector(manager, 60.0)
        collector.survey()
        registry.register(collector)
        families = list(registry.collect())
        there = {sample.name for family in families for sample in family.samples}
        there |= {f"{family.name}_total" for family in families if family.type == "counter"}
    asked = {name for query in [*queries(), *rules()] for name in NAME.findall(query)}
    assert asked <= there
    assert len(asked) > 20


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")
def test_promtool_takes_the_rules_and_the_scrape_configuration() -> None:
    for kind, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        command = [str(PROMTOOL), "check", kind, str(CONFIG / "prometheus" / name)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr


HEALTHY = {"store_up": "1x120", "commits_total": "0+60x120", "survey_age_seconds": "60x120"}
ALARMING = {
    "CtxqueueStoreAway": {"store_up": "0x120"},
    "CtxqueueOverdue": {"oldest_overdue_seconds": "0+60x120"},
    "CtxqueueOutboxStuck": {"outbox_age_seconds": "0+60x120"},
    "CtxqueueDeadLetters": {"dead_letters": "3x120"},
    "CtxqueueParkedForLong": {"parked": "1x120"},
    "CtxqueueLate": {"late_total": "0+1x120"},
    "CtxqueueContended": {"retries_total": "0+61x120"},
    "CtxqueueDiverging": {"divergences_total": "0x110 1x10"},
    "CtxqueueDenied": {"denied_total": "0+61x120"},
    "CtxqueueForged": {"refused_work_total": "0x110 1x10"},
    "CtxqueueNotSurveyed": {"survey_age_seconds": "0+60x120"},
}
"""What makes each alert fire, and no other: a value a minute, over two hours."""
NEARLY = {
    "oldest_overdue_seconds": "120x120",
    "outbox_age_seconds": "120x120",
    "dead_letters": "0x120",
    "parked": "0x120",
    "late_total": "0+0.6x120",
    "retries_total": "0+60x120",
    "divergences_total": "5x120",
    "denied_total": "0+60x120",
    "refused_work_total": "5x120",
    "survey_age_seconds": "3600x120",
}
ABSENT = "CtxqueueNotLookedAt"


def told(namespace: str, series: dict[str, str]) -> list[dict[str, str]]:
    """Return what Prometheus has read of a namespace where all is well but for what is given."""
    age = ',age="more"'
    return [
        {"series": f'ctxqueue_{name}{{namespace="{namespace}"{age if name == "parked" else ""}}}', "values": values}
        for name, values in {**HEALTHY, **series}.items()
    ]


def firing_after_two_hours(series: list[dict[str, str]], *firing: tuple[str, str]) -> dict[str, Any]:
    """Return a test of promtool's."""
    labels = (f'{{alertname="{alert}"' + (f',namespace="{name}"' if name else "") + "}" for alert, name in firing)
    query = 'sum by (alertname, namespace) (ALERTS{alertstate="firing"})'
    samples = [{"labels": each, "value": 1} for each in labels]
    asked = [{"expr": query, "eval_time": "2h", "exp_samples": samples}]
    return {"interval": "1m", "input_series": series, "promql_expr_test": asked}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")
def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    groups = yaml.safe_load((CONFIG / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == {ABSENT, *ALARMING}
    alarming = [line for name, series in ALARMING.items() for line in told(f"of-{name}", series)]
    tests = [
        firing_after_two_hours(
            [*told("well", {}), *told("nearly", NEARLY), *alarming], *((name, f"of-{name}") for name in ALARMING)
        ),
        firing_after_two_hours([], (ABSENT, "")),
    ]
    asked = {"rule_files": [str(CONFIG / "prometheus" / "alerts.yml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(asked), encoding="utf-8")
    command = [str(PROMTOOL), "test", "rules", str(tmp_path / "tests.yml")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """The shipped deployment with its metrics on, its exporter, and a Prometheus that scrapes both."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.url = url
        (folder / "counts").mkdir()
        (folder / "out").mkdir()
        worker, store, self._port = free_port(), free_port(), free_port()
        self._environment = {
            **os.environ,
            "CTXQUEUE_BACKEND_URL": url,
            "CTXQUEUE_SWEEP_INTERVAL": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "counts"),
            "CTXQUEUE_METRICS_PORT": str(worker),
        }
        celery = [sys.executable, "-P", "-m", "celery", "-A", "workers.app"]
        self._start("worker", [*celery, "worker", "-c", "2"])
        self._start("beat", [*celery, "beat", "-s", str(folder / "schedule"), "--pidfile="])
        self._start("exporter", [*celery, "ctx", "exporter", "--port", str(store), "--survey", "1"])
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(CONFIG / "prometheus" / "alerts.yml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in (("worker", worker), ("store", store))
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        options = ["--config.file", str(folder / "prometheus.yml"), "--storage.tsdb.path", str(folder / "tsdb")]
        self._start("prometheus", [str(PROMETHEUS), *options, f"--web.listen-address=127.0.0.1:{self._port}"])

    def _start(self, name: str, command: list[str]) -> None:
        process = KeptProcess(command, self._folder / f"{name}.log", cwd=ROOT, env=self._environment)
        self._stack.callback(process.end)

    def do_the_job(self) -> None:
        sample = str(ROOT / "workers" / "sample" / "revenue.csv")
        command = [sys.executable, "-P", "-c", JOB, sample, str(self._folder / "out")]
        subprocess.run(command, cwd=ROOT, env=self._environment, check=True)

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return {}

    def recall(self) -> None:
        """Have the worker embed and recall."""
        subprocess.run(
            [sys.executable, "-P", "-c", RECALL], cwd=ROOT, env=self._environment, check=True, timeout=SECONDS
        )

    def counted(self, query: str) -> float:
        """Return a sum over all processes."""
        (series,) = self.ask("query", query=f"sum({query})")["result"]
        return float(series["value"][1])

    def revisions(self) -> int:
        """Return how many commits there were, as the store has it."""
        with connect(self.url, namespace="revenue") as manager:
            return sum(each.revision for each in manager.workflows())

    def has_data(self, query: str) -> bool:
        """Tell whether there is a value that can be drawn: of nothing in it a quantile is NaN."""
        plain = query.replace("$namespace", ".*").replace("$__rate_interval", "1m")
        found = self.ask("query", query=plain).get("result", ())
        return any(not math.isnan(float(series["value"][1])) for series in found)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with EmbeddedServer() as server, ExitStack() as stack:
        yield Site(tmp_path, server.url(), stack)


@pytest.mark.long
@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus: apt-get install prometheus")
def test_each_query_of_the_dashboard_returns_data_while_the_main_job_runs(site: Site) -> None:
    wait_until(lambda: site.has_data("ctxqueue_commits_total"), "the worker is scraped before there is anything")
    site.do_the_job()
    site.recall()
    wait_until(lambda: site.has_data("ctxqueue_commits_total > 0"), "the worker is scraped")
    wait_until(lambda: site.has_data("ctxqueue_entries > 0"), "the exporter is scraped")
    for query in queries():
        wait_until(lambda query=query: site.has_data(query), f"{query} returns data")  # type: ignore[misc]
    wait_until(
        lambda: site.counted("ctxqueue_commits_total") == site.revisions() > 20, "each commit was counted, and once"
    )
    assert site.counted('ctxqueue_armed_total{kind="task"}') == site.counted("ctxqueue_parked_seconds_count") > 0
    assert site.counted("ctxqueue_fired_total") == site.counted("ctxqueue_armed_total")
    (group,) = site.ask("rules")["groups"]
    wait_until(
        lambda: all(rule["health"] == "ok" for rule in site.ask("rules")["groups"][0]["rules"]), "rules are read"
    )
    assert len(group["rules"]) == len(rules())
