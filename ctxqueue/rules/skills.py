"""What is known of a skill, and how that moves with each execution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRIOR = 2.0
"""Executions that what was said of a skill beforehand counts as; if nothing was said, one of two succeeded."""
MOST_CONTEXTS = 20
DEVIATIONS = 1.96
"""Of an interval that holds the true rate nineteen times in twenty."""


class Skill(NamedTuple):
    """A skill by its name. ``stated`` is a rate that somebody gave, which executions then outweigh."""

    name: str
    steps: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    attempts: int = 0
    successes: int = 0
    stated: float | None = None

    @property
    def rate(self) -> float:
        """The estimate: what was stated, or a half, and what executions have shown."""
        stated = 0.5 if self.stated is None else self.stated
        return (PRIOR * stated + self.successes) / (PRIOR + self.attempts)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the estimate, as wide as so few executions leave it."""
        seen, squared = PRIOR + self.attempts, DEVIATIONS**2
        centre = (self.rate + squared / (2 * seen)) / (1 + squared / seen)
        spread = self.rate * (1 - self.rate) / seen + squared / (4 * seen**2)
        half = DEVIATIONS * math.sqrt(spread) / (1 + squared / seen)
        return max(0.0, centre - half), min(1.0, centre + half)

    def practised(self, steps: Sequence[str], contexts: Sequence[str], *, success: bool | None) -> Skill:
        """Return it after an execution, or (None) as it is told anew; steps that are given take the old ones' place."""
        together = tuple(dict.fromkeys((*self.contexts, *contexts)))[-MOST_CONTEXTS:]
        return self._replace(
            steps=tuple(steps) or self.steps,
            contexts=together,
            attempts=self.attempts + (success is not None),
            successes=self.successes + (success is True),
        )

    @property
    def content(self) -> str:
        """The skill in words, as it is searched."""
        return "\n".join(
            [
                f"Skill: {self.name}",
                f"Success Rate: {self.rate:.2%}",
                f"Steps: {' → '.join(self.steps)}",
                f"Contexts: {', '.join(self.contexts)}",
            ]
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """The skill as its memory's metadata."""
        low, high = self.interval
        return {
            "skill_name": self.name,
            "steps": list(self.steps),
            "success_rate": self.rate,
            "success_rate_low": low,
            "success_rate_high": high,
            "attempts": self.attempts,
            "successes": self.successes,
            "stated_rate": self.stated,
            "applicable_contexts": list(self.contexts),
            "skill_type": "learned_procedure",
        }

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Skill:
        """Undo ``metadata``."""
        return cls(
            *(metadata["skill_name"], tuple(metadata["steps"]), tuple(metadata["applicable_contexts"])),
            *(metadata["attempts"], metadata["successes"], metadata["stated_rate"]),
        )
