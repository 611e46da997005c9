"""A workflow ends in which many messages wait to be claimed: no step goes through all of them."""

from __future__ import annotations

import redis

from ctxqueue import effects as fx
from ctxqueue.rules.conditions import in_workflow
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.testing.contract.runs import Worker

WORKFLOW = "q3-close"
LEASE = 30_000_000
MESSAGES = 20_000


def test_who_waits_elsewhere_is_found_among_many_messages_by_short_steps(redis_url: str) -> None:
    worker = Worker(redis_url)
    store = worker.manager.store
    for name in (WORKFLOW, "other"):
        worker.manager.workflow(name).open()
    worker.claim_and_park("waits", in_workflow("other", "a"))
    keys = workflow_keys("default", WORKFLOW)
    with redis.Redis.from_url(redis_url) as client:
        # As `released.lua` keeps them; of no run that was ever there.
        kept = {f"n:{number}": b"\x80" for number in range(MESSAGES)}
        client.hset(keys.t, mapping=kept)
        store.perform(fx.Close(WORKFLOW, remove=True, idle_us=None, horizon_us=LEASE))
        steps = 0
        while not (step := store.perform(fx.End(WORKFLOW, 10, (), "app", LEASE, LEASE))).outgoing:
            assert step.answer == "more"
            steps += 1
        assert steps > 1
        assert [item.message for item in step.outgoing] == [b"waits/0.1"]
        client.config_resetstat()
        store.perform(fx.End(WORKFLOW, 10, (), "app", LEASE, LEASE))
        scans = client.info("commandstats")["cmdstat_hscan"]["calls"]
        assert scans == 1
        client.flushdb()
    worker.manager.close()
