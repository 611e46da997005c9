"""Child processes that end when they should."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing import processes
from ctxqueue.testing.processes import KeptProcess
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_its_output_is_in_the_log_and_its_directory_and_environment_are_as_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, sys; print(os.getcwd(), os.environ['NAME']); sys.exit('and errors')"
    process = KeptProcess([sys.executable, "-c", code], log, cwd=tmp_path, env={"NAME": "value"})
    assert process.ended.wait(SECONDS)
    assert set(log.read_text().splitlines()) == {f"{tmp_path.resolve()} value", "and errors"}


@pytest.mark.parametrize("command", [SLEEP, STUBBORN])
def test_it_is_gone_when_end_returns(command: list[str], tmp_path: Path) -> None:
    process = KeptProcess(command, tmp_path / "log")
    wait_until((tmp_path / "log").read_text, "the command runs")
    process.end(grace=0.2)
    assert is_gone(process.pid)
    process.end()


def test_a_paused_one_can_be_ended(tmp_path: Path) -> None:
    process = KeptProcess(SLEEP, tmp_path / "log")
    process.pause()
    process.pause()
    process.end()
    assert is_gone(process.pid)


def test_a_signal_to_what_has_ended_does_nothing(tmp_path: Path) -> None:
    process = KeptProcess([sys.executable, "-c", ""], tmp_path / "log")
    assert process.ended.wait(SECONDS)
    process.send(signal.SIGKILL)
    process.pause()


def test_a_directory_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot start"):
        KeptProcess(SLEEP, tmp_path / "log", cwd=tmp_path / "missing")


def test_an_interrupt_during_the_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pids: list[int] = []

    class Interrupted(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            pids.append(super().result(timeout))
            if len(pids) == 1:
                raise KeyboardInterrupt
            return pids[-1]

    monkeypatch.setattr(processes, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        KeptProcess(SLEEP, tmp_path / "log")
    assert is_gone(pids[0])
