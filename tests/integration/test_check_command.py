"""``celery -A proj ctx check`` on an app and its servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue import celery_defaults
from ctxqueue.integration.check import findings
from ctxqueue.integration.setup import look
from ctxqueue.testing import EmbeddedCluster, EmbeddedServer
from tests.integration.apps import parking
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def durable_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(appendonly=True, password="s3cret") as server:
        yield server


def checked(
    *options: str, app: str = "tests.integration.apps.entry", **settings: Any
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "SAMPLE_APP": "tests.integration.apps.parking",
        "SAMPLE_SETTINGS": json.dumps({"sample_url": None, **settings}),
    }
    command = [sys.executable, "-m", "celery", "-A", app, "ctx", "check", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def on(url: str, **settings: Any) -> dict[str, Any]:
    return {"broker_url": url, "result_backend": url, **settings}


def test_under_our_defaults_and_a_durable_server_there_is_nothing_to_mend(durable_server: EmbeddedServer) -> None:
    told = checked(**on(durable_server.url(), **celery_defaults()))
    assert (told.stdout, told.returncode) == ("nothing to mend\n", 0)
    assert json.loads(checked("--json", **on(durable_server.url(), **celery_defaults())).stdout) == []


def test_celerys_own_defaults_are_warned_of_and_no_error(durable_server: EmbeddedServer) -> None:
    told = checked("--json", **on(durable_server.url()))
    found = json.loads(told.stdout)
    assert told.returncode == 0
    assert {finding["severity"] for finding in found} == {"warning"}
    assert {"worker_prefetch_multiplier", "redis_socket_timeout", "worker_soft_shutdown_timeout"} <= {
        finding["about"] for finding in found
    }


def test_what_is_wrong_is_told_with_its_mend_and_ends_with_status_1(durable_server: EmbeddedServer) -> None:
    told = checked(**on(durable_server.url(), **{**celery_defaults(), "result_expires": 60}))
    assert told.returncode == 1
    assert "error: result_expires" in told.stdout
    assert "mend: result_expires above 3600" in told.stdout
    assert "1 errors, 0 warnings" in told.stdout


def test_a_server_that_evicts_keys_and_one_that_forgets_are_named_without_a_password() -> None:
    with EmbeddedServer(password="s3cret", config={"maxmemory-policy": "allkeys-lru"}) as server:
        told = checked("--json", **on(server.url(), **celery_defaults()))
    found = json.loads(told.stdout)
    assert told.returncode == 1
    assert {(finding["severity"], finding["about"].split(" at ")[0]) for finding in found} == {
        (severity, role) for severity in ("error", "warning") for role in ("store", "broker", "result backend")
    }
    assert "s3cret" not in told.stdout + told.stderr


def test_servers_that_do_not_answer_are_errors_and_not_a_traceback() -> None:
    told = checked("--json", **on(NOBODY, **celery_defaults()))
    found = json.loads(told.stdout)
    assert [finding["about"].split(" at ")[0] for finding in found] == ["store", "broker", "result backend"]
    assert (told.returncode, told.stderr) == (1, "")


def test_servers_that_may_not_be_asked_are_errors_and_not_a_traceback(durable_server: EmbeddedServer) -> None:
    with redis.Redis.from_url(durable_server.url()) as client:
        client.acl_setuser(
            "guest", enabled=True, passwords="+pw", keys="*", channels="*", categories=["+@all", "-@dangerous"]
        )
    guests = f"redis://guest:pw@{durable_server.url().partition('@')[2]}"
    told = checked("--json", **on(guests, ctxqueue_backend_url=durable_server.url(), **celery_defaults()))
    found = json.loads(told.stdout)
    assert [finding["about"].split(" at ")[0] for finding in found] == ["broker", "result backend"]
    assert all("it does not say how it is set" in finding["risk"] for finding in found)
    assert (told.returncode, told.stderr) == (1, "")


def test_waits_may_be_given_as_timedeltas(durable_server: EmbeddedServer) -> None:
    queue = parking.build(on(durable_server.url(), sample_url=None))
    declare = queue.task(agent_type="analyst", needs="key", needs_timeout=timedelta(minutes=2), name="patient")
    declare(wait_in_vain)
    queue.app.finalize()
    (patient,) = [task for task in look(queue).tasks if task.name == "patient"]
    assert patient.needs_timeout == 120.0
    queue.manager.close()


def test_the_last_of_pauses_that_grow_counts(durable_server: EmbeddedServer) -> None:
    queue = parking.build(on(durable_server.url(), sample_url=None))
    declared: dict[str, dict[str, Any]] = {
        "few": {"retry_backoff": 60, "retry_backoff_max": 9_000, "max_retries": 4},
        "many": {"retry_backoff": True, "retry_backoff_max": 9_000, "retry_kwargs": {"max_retries": None}},
        "own": {"retry_kwargs": {"countdown": 7}},
    }
    declare: Any = queue.app.task
    for name, options in declared.items():
        # shared: every app that is made later would have them too
        declare(name=name, shared=False, autoretry_for=(LookupError,), **options)(wait_in_vain)
    delays = {task.name: task.retry_delay for task in look(queue).tasks if task.name in declared}
    assert delays == {"few": 480.0, "many": 9_000.0, "own": 7.0}
    queue.manager.close()


@pytest.mark.parametrize(
    ("urls", "told"),
    [
        ({"broker_url": "amqp://guest:s3cret@127.0.0.1:1//"}, "it does not answer"),
        ({"broker_url": "redis+cluster://127.0.0.1:1"}, "kombu has no transport for a Redis Cluster"),
        ({"result_backend": "rediss://:s3cret@127.0.0.1:1/0"}, "?ssl_cert_reqs=required"),
    ],
)
def test_a_broker_or_backend_that_cannot_be_used_is_an_error(
    durable_server: EmbeddedServer, urls: dict[str, str], told: str
) -> None:
    settings = on(durable_server.url(), ctxqueue_backend_url=durable_server.url(), sample_url=None)
    queue = parking.build({**settings, **celery_defaults(), **urls})
    (finding,) = findings(look(queue))
    assert finding.severity == "error"
    assert told in finding.risk
    assert "s3cret" not in str(finding)
    queue.manager.close()


def wait_in_vain(_self: Any) -> None:
    pass


def test_an_app_without_a_store_and_one_without_ctxqueue_are_told_so() -> None:
    told = checked(broker_url="amqp://nobody", result_backend="rpc://")
    assert told.returncode == 1
    assert "set ctxqueue_backend_url" in told.stderr
    told = checked(app="tests.integration.apps.bare")
    assert told.returncode == 2
    assert "ctxqueue.install(app)" in told.stderr


def test_each_master_of_a_cluster_is_asked(durable_server: EmbeddedServer) -> None:
    with EmbeddedCluster() as cluster:
        queue = parking.build(on(durable_server.url(), ctxqueue_backend_url=cluster.url(), sample_url=None))
        stores = [server for server in look(queue).servers if server.role == "store"]
        queue.manager.close()
    assert len(stores) == 3
    assert not any(server.appendonly or server.error for server in stores)


def test_the_shipped_settings_pass(durable_server: EmbeddedServer) -> None:
    environment = {**os.environ, "CTXQUEUE_BACKEND_URL": durable_server.url()}
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "ctx", "check"]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert told.stdout == "nothing to mend\n"
