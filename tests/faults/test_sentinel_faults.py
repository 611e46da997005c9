"""A master behind Sentinels that is killed or stopped, under commits from four processes."""

from __future__ import annotations

import time

import pytest
import redis

from ctxqueue import connect
from ctxqueue.errors import StoreAuthError, StoreUnavailable
from ctxqueue.testing import EmbeddedSentinels
from tests.contract.keyspace import objections
from tests.faults.streams import check_once_and_in_order, check_only_the_tail_is_lost, logs, streaming
from tests.waiting import wait_until

REPLICATION_LAG = 1.0
"""Seconds. On loopback it is milliseconds; on a machine with two cores the replica may not get its turn."""
LONGEST_GAP = 15.0
"""Seconds: a socket's time limit, the failover, and the longest pause between two tries."""


@pytest.mark.parametrize("fault", ["kill", pytest.param("pause", marks=pytest.mark.long)])
def test_a_master_that_dies_costs_at_most_the_tail(fault: str) -> None:
    """No effect twice; lost is at most what the replica had not received when its master went."""
    with EmbeddedSentinels(down_after=3.0) as sentinels:
        master = sentinels.master()
        with streaming(sentinels.url()) as streams:
            fault_at = time.monotonic()
            getattr(master, fault)()
            wait_until(lambda: sentinels.master() is not master, "a replica takes over")
            streams.wait_for_progress()
        with connect(sentinels.url()) as manager:
            held = logs(manager)
            check_once_and_in_order(held)
            gone = check_only_the_tail_is_lost(held, streams.acknowledged, fault_at, REPLICATION_LAG)
            streams.tell(lost=len(gone))
            assert streams.longest_gap() < LONGEST_GAP
            if fault == "pause":
                master.resume()  # it takes itself for the master until a Sentinel has told it otherwise
            with connect(sentinels.url()) as newcomer:
                assert logs(newcomer) == logs(manager) == held
        with redis.Redis.from_url(sentinels.master().url()) as client:
            assert objections(client) == []


def test_sentinels_that_are_away_and_a_master_that_they_do_not_know() -> None:
    with EmbeddedSentinels(replicas=0) as sentinels:
        for sentinel in sentinels.sentinels[:2]:
            sentinel.kill()
        with connect(sentinels.url(3)) as manager:
            assert manager.workflow("w").open().revision == 0
        with pytest.raises(StoreUnavailable, match=r"nobody of 127\.0\.0\.1:.*no Sentinel knows a master 'nobody'"):
            connect(sentinels.url().replace("mymaster", "nobody"))
        sentinels.sentinels[2].kill()
        with pytest.raises(StoreUnavailable, match=r"mymaster of 127\.0\.0\.1:"):
            connect(sentinels.url())


def test_the_passwords_of_master_and_sentinels_are_two() -> None:
    with EmbeddedSentinels(replicas=0, password="p@ss w/örd#1", sentinel_password="s=cret&") as sentinels:
        with connect(sentinels.url()) as manager:
            assert manager.workflow("w").open().revision == 0
        for url in (sentinels.url(password="hunter2"), sentinels.url().replace("s%3Dcret", "hunter2")):
            with pytest.raises(StoreAuthError, match="check user and password") as caught:
                connect(url)
            assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
