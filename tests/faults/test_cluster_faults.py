"""A Cluster that is resharded, and one whose master dies, under commits from four processes."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue import connect
from ctxqueue.errors import ConfigurationError, StoreAuthError, StoreUnavailable, UnsafeServer
from ctxqueue.stores.redis.cluster import RedisClusterStore
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.routing import MOST_DETOURS
from ctxqueue.testing import EmbeddedCluster, EmbeddedServer
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.contract.keyspace import objections
from tests.faults.streams import (
    WORKFLOWS,
    check_once_and_in_order,
    check_only_the_tail_is_lost,
    logs,
    lost,
    streaming,
)
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATION_LAG = 1.0
"""Seconds. On loopback it is milliseconds; on a machine with two cores the replica may not get its turn."""
LONGEST_GAP = 15.0
"""Seconds: a socket's time limit, the failover, and the longest pause between two tries."""
TEMPORARY = 10
"""Entries of a workflow that expire while its slot is under way."""


@pytest.fixture
def cluster() -> Iterator[EmbeddedCluster]:
    """A cluster of the test's own. A master that a loaded machine holds up for a while is not taken for dead."""
    with EmbeddedCluster(node_timeout=3.0) as cluster:
        yield cluster


def refusals(cluster: EmbeddedCluster) -> dict[str, int]:
    """How often the nodes have answered with each error."""
    found: dict[str, int] = {}
    for node in cluster.nodes:
        for name, count in re.findall(r"errorstat_(\w+):count=(\d+)", cluster.ask(node, "INFO", "errorstats")):
            found[name] = found.get(name, 0) + int(count)
    return found


def check_tidy(cluster: EmbeddedCluster) -> None:
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port or 0) as client:
        assert objections(client) == []


def slot_of(cluster: EmbeddedCluster, workflow: str) -> int:
    return cluster.slot_of(workflow_keys("default", workflow).tag)


def move_under_fire(cluster: EmbeddedCluster, slot: int, target: EmbeddedServer) -> None:
    """Move a slot key by key, none before somebody was refused because of the one before."""
    move = cluster.moving(slot, target)
    moved = 1
    while moved:
        before = sum(refusals(cluster).values())
        moved = move.some_keys(1)
        wait_until(lambda before=before: sum(refusals(cluster).values()) > before, "a call meets the slot on its way")  # type: ignore[misc]
    move.finish()


def test_commits_and_sweeps_go_on_while_slots_move(cluster: EmbeddedCluster) -> None:
    """All that was acknowledged is there, once; every expired entry is swept, once."""
    slots = sorted({slot_of(cluster, name) for name in WORKFLOWS})[:3]
    with connect(cluster.url()) as manager:
        with streaming(cluster.url()) as streams:
            for name in WORKFLOWS:
                for number in range(TEMPORARY):
                    manager.workflow(name, agent_id="web_extractor_001").put(f"k{number}", 1, ttl=0.5)
            swept = 0
            for slot in slots:
                home = cluster.master_of(slot)
                move_under_fire(cluster, slot, next(node for node in cluster.serving() if node is not home))
                swept += manager.cleanup_expired_contexts().expired
                move_under_fire(cluster, slot, home)
            streams.wait_for_progress()
        swept += manager.cleanup_expired_contexts().expired
        held = logs(manager)
    streams.tell(lost=0)
    check_once_and_in_order(held)
    assert lost(held, streams.acknowledged) == []
    assert swept == len(WORKFLOWS) * TEMPORARY
    assert {"MOVED", "ASK", "TRYAGAIN"} <= refusals(cluster).keys()
    assert streams.longest_gap() < LONGEST_GAP
    check_tidy(cluster)


def test_a_call_waits_for_a_slot_on_its_way_to_a_node_that_has_just_joined(cluster: EmbeddedCluster) -> None:
    with connect(cluster.url()) as manager, ThreadPoolExecutor(1) as thread:
        wf = manager.workflow(WORKFLOWS[0], agent_id="analyst_001")
        wf.open()
        move = cluster.moving(slot_of(cluster, WORKFLOWS[0]), cluster.join())
        while move.some_keys(100):
            pass
        reading = thread.submit(wf.get, "k")
        wait_until(lambda: refusals(cluster).get("ASK", 0) > MOST_DETOURS or reading.done(), "it was asked often")
        assert not reading.done()
        move.finish()
        assert reading.result(SECONDS) is None
        assert wf.put("k", 1).version == 1


def test_a_task_is_bound_to_its_run_once_that_is_claimed(cluster: EmbeddedCluster) -> None:
    """Whoever calls the task off meanwhile leaves a mark, which the claim finds, and does not take it back."""
    worker = Worker(cluster.url())
    with worker.manager as manager, ThreadPoolExecutor(1) as thread:
        manager.workflow(WORKFLOW).open()
        slot = slot_of(cluster, WORKFLOW)
        home = cluster.master_of(slot)
        move = cluster.moving(slot, next(node for node in cluster.serving() if node is not home))
        claiming = thread.submit(worker.claim, "r", task_id="task")
        wait_until(lambda: refusals(cluster).get("TRYAGAIN", 0) >= 5, "the claim waits for its slot")
        assert worker.cancel("task") == "unseen"
        while move.some_keys(100):
            pass
        move.finish()
        assert claiming.result(SECONDS).word == "cancelled"


@pytest.mark.parametrize("fault", [pytest.param("kill", marks=pytest.mark.long), "pause"])
def test_a_master_that_dies_costs_at_most_the_tail(cluster: EmbeddedCluster, fault: str) -> None:
    """No effect twice; lost is at most what the replica had not received when its master went."""
    slot = slot_of(cluster, WORKFLOWS[0])
    master = cluster.master_of(slot)
    with streaming(cluster.url()) as streams:
        fault_at = time.monotonic()
        getattr(master, fault)()
        wait_until(lambda: cluster.master_of(slot) is not master, "the replica takes over")
        streams.wait_for_progress()
    with connect(cluster.url()) as manager:
        held = logs(manager)
        check_once_and_in_order(held)
        gone = check_only_the_tail_is_lost(held, streams.acknowledged, fault_at, REPLICATION_LAG)
        streams.tell(lost=len(gone))
        assert streams.longest_gap() < LONGEST_GAP
        if fault == "kill":
            master.start()
        else:
            master.resume()
        cluster.wait_until_whole()
        assert logs(manager) == held
    check_tidy(cluster)


def test_every_master_is_checked_at_first_contact(redis_cluster: EmbeddedCluster) -> None:
    last = redis_cluster.serving()[-1]
    redis_cluster.ask(last, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnsafeServer, match=rf"127\.0\.0\.1:{last.port} has maxmemory-policy allkeys-lru"):
            connect(redis_cluster.url())
    finally:
        redis_cluster.ask(last, "CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_replica_that_takes_over_is_checked_too(cluster: EmbeddedCluster) -> None:
    slot = slot_of(cluster, WORKFLOWS[0])
    master = cluster.master_of(slot)
    for node in cluster.nodes:
        if node not in cluster.serving():
            cluster.ask(node, "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    with connect(cluster.url()) as manager:
        wf = manager.workflow(WORKFLOWS[0], agent_id="analyst_001")
        wf.open()
        master.kill()
        with pytest.raises(UnsafeServer, match="volatile-lru"):
            wf.put("k", 1)


def test_a_cluster_with_a_part_that_stays_away_serves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisClusterStore, "retries", 3)
    config = {"cluster-require-full-coverage": "no"}
    with EmbeddedCluster(replicas=0, config=config) as cluster, connect(cluster.url()) as manager:
        homes = {name: cluster.master_of(slot_of(cluster, name)) for name in WORKFLOWS}
        victim = homes[WORKFLOWS[0]]
        assert set(homes.values()) != {victim}
        handles = [manager.workflow(name, agent_id="analyst_001") for name in WORKFLOWS]
        for wf in handles:
            wf.open()
        victim.kill()
        for wf in handles:
            if homes[wf.workflow_id] is victim:
                with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+,.* does not answer"):
                    wf.put("k", 1)
            else:
                assert wf.put("k", 1).version == 1


def test_a_cluster_that_is_all_away_is_a_typed_error(cluster: EmbeddedCluster) -> None:
    for node in cluster.nodes:
        node.kill()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+,.* does not answer"):
        connect(cluster.url())


def test_a_server_that_is_no_node_is_a_typed_error(redis_server: EmbeddedServer) -> None:
    with pytest.raises(ConfigurationError, match="no node of a cluster: use redis://"):
        connect(f"redis+cluster://127.0.0.1:{redis_server.port}")


def test_a_node_by_a_plain_url_is_a_typed_error(redis_cluster: EmbeddedCluster, cluster_url: str) -> None:
    with connect(cluster_url) as manager:
        home = redis_cluster.master_of(redis_cluster.slot_of("{default}"))
        other = next(node for node in redis_cluster.serving() if node is not home)
        with pytest.raises(ConfigurationError, match=r"a node of a cluster: use redis\+cluster://"):
            connect(other.url())
        assert manager.workflow("w").open().revision == 0


def test_a_password_is_used_for_every_node_and_never_shown() -> None:
    with EmbeddedCluster(replicas=0, password="p@ss w/örd#1") as cluster:
        with connect(cluster.url()) as manager:
            for name in WORKFLOWS:
                assert manager.workflow(name).open().revision == 0
        for url in (cluster.url().replace("p%40ss", "hunter2"), re.sub(r"//:.*@", "//", cluster.url())):
            with pytest.raises(StoreAuthError, match="check user and password") as caught:
                connect(url)
            assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
