"""What the terminal shows of a run: each task as it waits, starts and ends, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.consolidate import Step

FEW = 3
"""So many tasks of one kind get a line each; of more, their number is shown."""


class RunFailedError(RuntimeError):
    """A task failed, or the run took too long; the message says which."""


class Progress:
    """Follows the tasks of one run by their results."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._states = ["PENDING"] * len(steps)
        self._kinds = Counter(step.label for step in steps)
        self._ended: Counter[str] = Counter()
        self._begun = time.monotonic()

    def look(self) -> bool:
        """Print what has changed; return whether every task has ended. Raises RunFailedError."""
        for number, step in enumerate(self._steps):
            if self._states[number] == "SUCCESS":
                continue
            state = step.result.state
            if state != self._states[number]:
                self._states[number] = state
                self._show(step, state)
            if state in ("FAILURE", "REVOKED"):
                raise RunFailedError(f"{step.label} failed: {step.result.result}")
        return all(state == "SUCCESS" for state in self._states)

    def _show(self, step: Step, state: str) -> None:
        many = self._kinds[step.label] > FEW
        if state == "WAITING" and not many:
            told = step.result.result  # read after its state, which may be another one by now
            needs = told.get("needs") if isinstance(told, dict) else None
            self._line(step.label, f"waits for {_some(needs or step.needs)}; no worker is held")
        elif state == "SUCCESS":
            self._ended[step.label] += 1
            done, total = self._ended[step.label], self._kinds[step.label]
            if not many:
                self._line(step.label, str(_answer(step)["did"]))
            elif done == total or done % max(1, total // 4) == 0:
                self._line(step.label, f"{done} of {total} done")

    def _line(self, label: str, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {label:31}  {text}")
        sys.stdout.flush()

    def waiting(self) -> str:
        """Name the tasks that have not ended."""
        return ", ".join(
            f"{step.label} ({state})"
            for step, state in zip(self._steps, self._states, strict=True)
            if state != "SUCCESS"
        )

    def table(self) -> str:
        """Return what each task waited for and did."""
        rows = [("task", "waited for", "seconds", "did")]
        for label, count in reversed(self._kinds.items()):
            steps = [step for step in self._steps if step.label == label]
            results = [_answer(step) for step in steps]
            for step, result in list(zip(steps, results, strict=True))[:FEW]:
                rows.append((label, _some(step.needs), f"{result['waited']:.1f}", str(result["did"])))
            if count > FEW:
                longest = max(result["waited"] for result in results)
                rows.append((label, f"... and {count - FEW} more", f"<= {longest:.1f}", "likewise"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


def _answer(step: Step) -> dict[str, Any]:
    return cast("dict[str, Any]", step.result.result)


def _some(keys: Sequence[str]) -> str:
    if not keys:
        return "nothing"
    return ", ".join(keys) if len(keys) <= FEW else f"{keys[0]} ... {keys[-1]} ({len(keys)} keys)"
