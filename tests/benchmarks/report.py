"""What a run of the benchmarks found: to the terminal as it comes, and at the end as JSON and Markdown."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from tests.benchmarks.interleaved import Timing

REPORTS = Path(__file__).parents[2] / "out" / "benchmarks"


@dataclass(frozen=True)
class Line:
    """One promise about a ratio of two medians."""

    what: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    @property
    def wanted(self) -> str:
        """The limit, in words."""
        return f"at {'least' if self.at_least else 'most'} {_number(self.limit)}"

    @property
    def verdict(self) -> str:
        """Whether it holds, in a word."""
        return "holds" if self.holds else "MISSED"


@dataclass(frozen=True)
class Section:
    """What one benchmark measured, under which circumstances, and what it promises."""

    title: str
    circumstances: Mapping[str, str]
    timings: Mapping[str, Timing]
    lines: tuple[Line, ...] = ()
    unit: str = ""
    """The call that the others' ratios are to."""


@dataclass
class Report:
    """All sections of a run."""

    sections: list[Section] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, section: Section) -> None:
        """Take a section in and print it; raises AssertionError, once it is in, if a promise was not kept."""
        self.sections.append(section)
        sys.stdout.write(f"\n{_as_text(section)}\n")
        missed = [f"{line.what}: {_number(line.ratio)}, {line.wanted}" for line in section.lines if not line.holds]
        assert not missed, "; ".join(missed)

    def skip(self, title: str, why: str) -> None:
        """Take note of what could not be measured here."""
        self.skipped[title] = why
        sys.stdout.write(f"\n{title}: skipped: {why}\n")

    def write(self) -> list[Path]:
        """Write both files and print the promises; return where the files are."""
        REPORTS.mkdir(parents=True, exist_ok=True)
        everything = {"machine": machine(), "sections": [_as_json(section) for section in self.sections]}
        written = {
            "benchmarks.json": json.dumps({**everything, "skipped": self.skipped}, indent=2) + "\n",
            "benchmarks.md": self._as_markdown(),
        }
        for name, text in written.items():
            (REPORTS / name).write_text(text, encoding="utf-8")
        lines = [line for section in self.sections for line in section.lines]
        sys.stdout.write("\n" + "\n".join(_line_as_text(line) for line in lines) + "\n")
        return [REPORTS / name for name in written]

    def _as_markdown(self) -> str:
        parts = [
            "# Benchmarks",
            "",
            machine_in_words(),
            "",
            "| what | measured | wanted | |",
            "| --- | --- | --- | --- |",
        ]
        for section in self.sections:
            parts += [
                f"| {line.what} | {_number(line.ratio)} | {line.wanted} | {line.verdict} |" for line in section.lines
            ]
        parts += [f"| {title} | skipped: {why} | | |" for title, why in self.skipped.items()]
        for section in self.sections:
            parts += ["", f"## {section.title}", ""]
            parts += [f"- {name}: {value}" for name, value in section.circumstances.items()]
            ratio = f" to {section.unit}" if section.unit else ""
            parts += ["", f"| call | median, us | 8 in 10 within | ratio{ratio} |", "| --- | --- | --- | --- |"]
            for name, timing, ratio in _rows(section):
                parts.append(f"| {name} | {timing.median:.1f} | {timing.low:.0f} to {timing.high:.0f} | {ratio} |")
        return "\n".join(parts) + "\n"


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the servers."""
    return {
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} at the end",
        "python": platform.python_version(),
        "redis-py": version("redis"),
        "hiredis": version("hiredis"),
        "psycopg": version("psycopg"),
    }


def machine_in_words() -> str:
    """Return the machine as a sentence."""
    return "; ".join(f"{name} {value}" for name, value in machine().items()) + "."


def durability(client: redis.Redis) -> str:
    """Say what the server keeps over a crash, which is part of any comparison."""
    info: Any = client.info()
    config: Any = client.config_get("appendfsync")
    kept = f"AOF {config['appendfsync']}" if info["aof_enabled"] else "nothing on disk"
    name = info.get("server_name", "redis")
    number = info.get("valkey_version", info["redis_version"])
    return f"{name} {number}, {kept}"


def _number(ratio: float) -> str:
    return f"1/{1 / ratio:.1f}" if ratio < 0.5 else f"{ratio:.2f}"


def _rows(section: Section) -> list[tuple[str, Timing, str]]:
    unit = section.timings[section.unit].median if section.unit else 0.0
    return [(name, timing, f"{timing.median / unit:.2f}" if unit else "") for name, timing in section.timings.items()]


def _as_text(section: Section) -> str:
    rows = [f"{section.title}", *(f"  {name}: {value}" for name, value in section.circumstances.items())]
    rows.append(f"{'':<58} {'median us':>10} {'8 in 10 within':>18} {'ratio':>7}")
    for name, timing, ratio in _rows(section):
        within = f"{timing.low:.0f} - {timing.high:.0f}"
        rows.append(f"{name:<58} {timing.median:>10.1f} {within:>18} {ratio:>7}")
    return "\n".join([*rows, *(_line_as_text(line) for line in section.lines)])


def _line_as_text(line: Line) -> str:
    return f"{line.verdict:<7} {line.what}: {_number(line.ratio)} ({line.wanted})"


def _as_json(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "circumstances": dict(section.circumstances),
        "microseconds": {name: asdict(timing) for name, timing in section.timings.items()},
        "promises": [{**asdict(line), "holds": line.holds} for line in section.lines],
    }
