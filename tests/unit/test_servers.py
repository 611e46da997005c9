"""The embedded server: real processes, started and ended in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing import EmbeddedServer, find_server, servers
from ctxqueue.testing.binaries import server_version
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PING_TIMEOUT = 0.2


def client_of(server: EmbeddedServer, **options: object) -> redis.Redis:
    return redis.Redis.from_url(server.url(), **options)


def is_listening(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port or 0)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fake_server(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def no_packaged_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTXQUEUE_REDIS_SERVER", raising=False)
    monkeypatch.setattr("ctxqueue.testing.binaries.importlib.util.find_spec", lambda _name: None)


def test_the_server_found_is_new_enough() -> None:
    assert (server_version(find_server()) or (0, 0)) >= (6, 2)


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = fake_server(tmp_path, "my-server", "7.2.4")
    monkeypatch.setenv("CTXQUEUE_REDIS_SERVER", str(chosen))
    assert find_server() == chosen


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [("missing", None, "not a program"), ("old", "6.0.16", "6.0"), ("odd", "none", "no server version")],
)
def test_a_variable_that_cannot_serve_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, version: str | None, says: str
) -> None:
    if version is not None:
        fake_server(tmp_path, name, version)
    monkeypatch.setenv("CTXQUEUE_REDIS_SERVER", str(tmp_path / name))
    with pytest.raises(ConfigurationError, match=f"CTXQUEUE_REDIS_SERVER.*{name}.*{says}"):
        find_server()


@pytest.mark.usefixtures("no_packaged_server")
def test_on_the_path_an_old_server_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_server(tmp_path, "valkey-server", "6.0.0")
    new = fake_server(tmp_path, "redis-server", "7.0.15")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_server() == new


@pytest.mark.usefixtures("no_packaged_server")
def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_server(tmp_path, "redis-server", "5.0.7")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"redis-server.*pip install 'ctxqueue\[embedded\]'"):
        find_server()


def test_it_serves_and_leaves_nothing() -> None:
    with EmbeddedServer() as server, client_of(server) as client:
        assert is_listening(server.port)
        directory = client.config_get("dir")["dir"]
        assert client.set("k", "v") is True
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
    assert not server.running
    assert not is_listening(server.port)
    assert not Path(directory).exists()


def test_many_at_once_have_each_their_own_port_and_data() -> None:
    servers = [EmbeddedServer() for _ in range(6)]
    threads = [threading.Thread(target=server.start) for server in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for server in servers:
            with client_of(server) as client:
                assert client.incr("counter") == 1
        assert len({server.port for server in servers}) == len(servers)
    finally:
        for server in servers:
            server.close()


def test_a_port_that_was_taken_in_between_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer() as first:
        taken = [first.port, first.port]
        monkeypatch.setattr(servers, "_free_port", lambda: taken.pop() if taken else free_port())
        with EmbeddedServer() as second:
            assert not taken
            assert (second.port, second.pid) != (first.port, first.pid)


def test_a_password_with_odd_characters_is_in_the_url_and_wanted() -> None:
    with EmbeddedServer(password="p@ss w/örd#1\"'\\") as server:
        with client_of(server) as client:
            assert client.ping()
        stranger_url = f"redis://127.0.0.1:{server.port}"
        with redis.Redis.from_url(stranger_url) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_on_a_unix_socket_no_port_is_open() -> None:
    with EmbeddedServer(unix_socket=True, password="secret") as server, client_of(server) as client:
        assert server.port is None
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}


def test_a_socket_path_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        EmbeddedServer(unix_socket=True).start()


def test_another_database_of_the_same_server(redis_server: EmbeddedServer) -> None:
    assert redis_server.url(3) == f"redis://127.0.0.1:{redis_server.port}/3"


def test_the_append_only_file_outlasts_a_crash() -> None:
    with EmbeddedServer(appendonly=True) as server:
        url = server.url()
        with client_of(server) as client:
            client.set("k", "kept")
            server.kill()
            server.restart()
            assert server.url() == url
            assert client.get("k") == b"kept"


def test_without_it_a_restart_is_empty() -> None:
    with EmbeddedServer() as server, client_of(server) as client:
        client.set("k", "v")
        server.restart()
        assert client.get("k") is None


def test_a_paused_server_answers_nothing_until_it_is_resumed() -> None:
    with (
        EmbeddedServer() as server,
        client_of(server) as patient,
        client_of(server, socket_timeout=PING_TIMEOUT, retry=None) as impatient,
    ):
        server.pause()
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
        server.resume()
        assert patient.ping()


def test_a_paused_server_can_be_stopped() -> None:
    with EmbeddedServer() as server:
        server.pause()
        server.stop()
        assert not server.running
        assert not is_listening(server.port)


def test_start_and_stop_may_be_called_twice() -> None:
    server = EmbeddedServer()
    server.start()
    pid = server.pid
    assert server.start().pid == pid
    server.stop()
    server.stop()
    server.close()
    server.close()


def test_what_needs_a_process_says_that_there_is_none() -> None:
    server = EmbeddedServer()
    for call in (lambda: server.pid, server.url, server.pause, server.resume):
        with pytest.raises(ConfigurationError, match=r"start\(\)"):
            call()


def test_a_server_that_does_not_come_up_shows_its_log() -> None:
    with pytest.raises(ConfigurationError, match="no-such-directive"):
        EmbeddedServer(config={"no-such-directive": "1"}).start()


def test_a_binary_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        EmbeddedServer(binary=tmp_path / "missing").start()


def test_a_failed_start_leaves_no_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigurationError), EmbeddedServer(config={"no-such-directive": "1"}):
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_outlives_the_thread_that_started_it() -> None:
    server = EmbeddedServer()
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    with server, client_of(server) as client:
        assert client.ping()


OWNER = """
import sys
from ctxqueue.testing import EmbeddedServer
server = EmbeddedServer().start()
print(server.port, flush=True)
sys.stdin.read()
"""
FORKING_OWNER = """
import os, sys
from ctxqueue.testing import EmbeddedServer
server = EmbeddedServer().start()
child = os.fork()
if child == 0:
    server.stop()
    server.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(server.port, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def owner_of_a_server(code: str, directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process of its own with a server in it; at the end its input ends, and it with that."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(directory)},
    ) as owner:
        assert owner.stdout is not None
        yield owner, int(owner.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a child with its parent")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent_however_that_ends(by: signal.Signals, tmp_path: Path) -> None:
    with owner_of_a_server(OWNER, tmp_path) as (owner, port):
        assert is_listening(port)
        owner.send_signal(by)
    wait_until(lambda: not is_listening(port), f"the server on port {port} ends with its parent")


def test_it_ends_when_its_parent_forgets_to_stop_it(tmp_path: Path) -> None:
    with owner_of_a_server(OWNER, tmp_path) as (owner, port):
        assert is_listening(port)
    assert owner.returncode == 0
    assert not is_listening(port)
    assert list(tmp_path.iterdir()) == []


def test_a_fork_of_its_parent_cannot_end_it(tmp_path: Path) -> None:
    with owner_of_a_server(FORKING_OWNER, tmp_path) as (_owner, port):
        assert is_listening(port)
    assert not is_listening(port)
