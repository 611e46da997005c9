"""ctxqueue in a Django project, taken up as its users do: settings, tasks, a view, a worker, beat."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.processes import KeptProcess
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parent / "projects" / "shop"


class Site:
    """The site, a worker and beat."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.folder = folder
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "SHOP_DATABASE": str(folder / "shop.sqlite3"),
            "SHOP_REDIS": server.url(),
        }
        self.manage("migrate", "--run-syncdb")
        celery = ["-m", "celery", "-A", "shop"]
        self.processes = [
            self._started("site", "manage.py", "runserver", "--noreload", self.address),
            self._started("worker", *celery, "worker", "-c", "2", "-l", "info"),
            self._started("beat", *celery, "beat", "-s", str(folder / "schedule"), "-l", "info"),
        ]
        wait_until(self.answers, "the site answers")

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        told = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def _started(self, name: str, *arguments: str) -> KeptProcess:
        return KeptProcess([sys.executable, *arguments], self.folder / f"{name}.log", cwd=PROJECT, env=self.environment)

    def answers(self) -> bool:
        for process in self.processes:
            assert not process.ended.is_set(), self.log()
        try:
            self.get("nothing")
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 404
        except OSError:
            return False
        return False

    def get(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}/{path}", data=None if body is None else json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return json.loads(answer.read())

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with EmbeddedServer(appendonly=True) as server:
        site = Site(tmp_path_factory.mktemp("django"), server)
        yield site
        for process in site.processes:
            process.end()


def test_a_view_sets_agents_going_which_wait_and_fill_the_database(site: Site) -> None:
    asked = site.get("reports", {"quarter": "2026-Q3", "amounts": ["10.50", "9.50"]})
    page = f"reports/{asked['report']}"
    wait_until(lambda: "Task reports.tasks.extract" in site.log(), "the extractor has run")
    assert site.get(page) == {"total": None}
    site.get(f"{page}?rate=1.08")
    wait_until(lambda: site.get(page)["total"], "the report has its total")
    assert site.get(page) == {"total": "21.60"}


def received(site: Site, name: str) -> set[str]:
    """The ids of tasks of that name which the worker has received."""
    return set(re.findall(rf"Task {re.escape(name)}\[(\S+)\] received", site.log()))


def test_a_transaction_that_is_rolled_back_publishes_nothing(site: Site) -> None:
    with redis.Redis.from_url(site.environment["SHOP_REDIS"]) as client:
        before = received(site, "reports.tasks.calculate")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            site.get("reports", {"quarter": "2026-Q3", "amounts": ["nonsense"]})
        with refusal.value as error:
            assert error.code == 400
        asked = site.get("reports", {"quarter": "2026-Q3", "amounts": ["1"]})
        site.get(f"reports/{asked['report']}?rate=1")
        wait_until(lambda: site.get(f"reports/{asked['report']}")["total"], "the next one is done")
        wait_until(lambda: client.llen("celery") == 0, "no message is left")
    assert len(received(site, "reports.tasks.calculate") - before) == 1


def test_the_projects_own_task_class_is_kept(site: Site) -> None:
    code = "from reports.tasks import calculate; print([each.__name__ for each in calculate.__class__.__mro__])"
    assert "DjangoTask" in site.manage("shell", "-c", code)


def test_the_check_reads_the_settings_of_django(site: Site) -> None:
    command = [sys.executable, "-m", "celery", "-A", "shop", "ctx", "check", "--json"]
    told = subprocess.run(command, cwd=PROJECT, env=site.environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "worker_prefetch_multiplier" in {finding["about"] for finding in json.loads(told.stdout)}
