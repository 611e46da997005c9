"""What the terminal shows of a run's tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from workers.progress import Progress

if TYPE_CHECKING:
    from workers.consolidate import Step


def step(state: str, result: Any) -> Step:
    answer = SimpleNamespace(state=state, result=result)
    return cast("Step", SimpleNamespace(label="write", needs=("a", "b"), result=answer))


@pytest.mark.parametrize(
    ("result", "shown"),
    [({"needs": ["b"]}, "b"), ({"pid": 7, "hostname": "here"}, "a, b"), (LookupError("retried"), "a, b")],
    ids=["it waits", "it has started meanwhile", "it tries again meanwhile"],
)
def test_a_task_that_waits_is_shown_whatever_becomes_of_it_meanwhile(
    capsys: pytest.CaptureFixture[str], result: Any, shown: str
) -> None:
    assert Progress([step("WAITING", result)]).look() is False
    assert f"waits for {shown}; no worker is held" in capsys.readouterr().out
