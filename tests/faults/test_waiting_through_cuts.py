"""A caller that waits while its connections are cut."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ctxqueue import connect
from ctxqueue.flows import looking

if TYPE_CHECKING:
    import pytest

    from ctxqueue.testing import FaultProxy


def test_a_caller_whose_connection_was_cut_is_woken_and_looks_now_and_then(
    proxy: FaultProxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    plain = looking.lacking

    def lacking(*given: Any) -> Any:
        looks.append(time.monotonic())
        return plain(*given)

    monkeypatch.setattr(looking, "lacking", lacking)
    with connect(redis_url) as direct, connect(proxy.url) as manager, ThreadPoolExecutor(1) as threads:
        wf = direct.workflow("cut", agent_id="writer_1")
        wf.open()
        waits = threads.submit(manager.workflow("cut", agent_id="reader_1").wait_for, "a", timeout=30)
        pause = threading.Event()
        pause.wait(0.5)
        proxy.reset_all()
        pause.wait(2)
        wf.put("a", 1)
        assert waits.result()["a"] == 1
    assert len(looks) < 12
