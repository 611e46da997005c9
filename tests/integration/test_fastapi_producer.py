"""A FastAPI service as producer: it opens workflows, publishes and reads in its loop; workers do the rest."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.processes import KeptProcess
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parent / "projects" / "producer"
SOURCES = 30


class Service:
    """The service's address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, path: str, **query: str) -> Any:
        """POST with a query, GET without."""
        url = f"http://{self.address}/{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url, method="POST" if query else "GET")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return json.loads(answer.read())

    def answers(self) -> bool:
        try:
            return bool(self.call("openapi.json"))
        except OSError:
            return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("producer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedServer() as server:
        environment = {**os.environ, "PRODUCER_REDIS": server.url()}
        commands = {
            "api": ["-m", "uvicorn", "api:api", "--port", str(port)],
            "worker": ["-m", "celery", "-A", "tasks", "worker", "-c", "2", "-l", "info"],
        }
        processes = [
            KeptProcess([sys.executable, *words], folder / f"{name}.log", cwd=PROJECT, env=environment)
            for name, words in commands.items()
        ]
        service = Service(f"127.0.0.1:{port}")
        wait_until(service.answers, "the service answers")
        yield service
        for process in processes:
            process.end()


def test_updates_of_many_requests_at_once_all_arrive_and_the_waiting_agent_goes_on(service: Service) -> None:
    asked = service.call("questions", question="Why?")["workflow"]
    assert service.call(f"questions/{asked}") == {"question": "Why?"}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: service.call(f"questions/{asked}/sources", source=f"source {n}"), range(SOURCES)))
    wait_until(lambda: len(service.call(f"questions/{asked}").get("sources", [])) == SOURCES, "all sources are there")
    wait_until(lambda: "answer" in service.call(f"questions/{asked}"), "the agent has answered")
    view = service.call(f"questions/{asked}")
    assert sorted(view["sources"]) == sorted(f"source {number}" for number in range(SOURCES))
    assert view["answer"].startswith("Why? ")


def test_an_unknown_workflow_is_an_answer_and_no_crash(service: Service) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        service.call("questions/nothing")
    with refusal.value as error:
        assert error.code == 404
        assert "nothing" in error.read().decode()
