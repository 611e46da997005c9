"""The examples that ``--help`` ends in, typed: each does what its command is for.

Where one names an id, which nobody can know beforehand, that of this project is put in its place; it has the same form.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from contextlib import chdir
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ctxqueue import all_of
from ctxqueue.effects import Outgoing, Position
from ctxqueue.flows import attempts, inbox
from ctxqueue.flows.publishing import item_id
from ctxqueue.flows.stored import packed
from ctxqueue.identity import Attempt
from ctxqueue.integration.cli.commands import Command
from ctxqueue.integration.messages import frozen
from ctxqueue.models import Agent
from ctxqueue.rules.conditions import as_condition
from tests.integration.commands import Told, told
from tests.integration.deployments import ROOT
from tests.integration.test_cli_help import ALL
from tests.integration.test_cli_interrupted import hear_ctrl_c
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click

    from ctxqueue.integration.install import ContextQueue

TYPED = ROOT / "tests" / "integration" / "projects" / "typed"
FINANCIAL, EXTRACTOR = "financial_calculator_001", "web_extractor_001"
RUN = "01a21311-ef7d-7c9c-ae2d-966617501585"
TASK = "5d0a6a4e-93cf-4c1b-8a60-2f6f6b8f3f0e"


def shown(command: click.Command) -> str:
    assert isinstance(command, Command)
    return command.example


OF_COMMANDS = [inspect.cleandoc(shown(command)).splitlines() for command in ALL.values()]
EXAMPLES = [line for lines in OF_COMMANDS for line in lines]
FIRST = [lines[0] for lines in OF_COMMANDS if not lines[0].startswith("eval ")]
OF_A_SHELL = ("celery -A proj ctx exporter", "eval ")
UNTIL_STOPPED = ("exporter --port 9809", "watch q3-close")
SILENT = ('bash)"', "--action refused", "--older-than 3600 --json", "watch q3-close")
"""Where nothing of the kind is there, or nothing happens."""


class Project(NamedTuple):
    """One store, and the ids that stand in the place of those of the examples."""

    queue: ContextQueue
    ids: Mapping[str, str]

    def line(self, line: str) -> str:
        """Return an example with the ids of this project."""
        for shown, real in self.ids.items():
            assert form(real).startswith(form(shown)), (shown, real)
            line = line.replace(shown, real)
        return line


def form(name: str) -> str:
    return re.sub(r"[0-9a-f]", "x", name)


def filled(queue: ContextQueue) -> dict[str, str]:
    """Put there what the examples speak of; return the ids by how the examples name them."""
    manager = queue.manager
    for workflow_id in ("q3-close", "q2-close"):
        extractor = queue.workflow(workflow_id, agent_id=EXTRACTOR)
        extractor.open({"owner": "finance"})
        for rate in ("1.07", "1.08"):
            extractor.update({"revenue_data": [1, 2], "exchange_rates": {"USD": rate}, "rate_usd": rate})
    extractor = queue.workflow("q3-close", agent_id=EXTRACTOR)
    extractor.put("site_credentials", "s3cret")
    extractor.put("letter", "dear", metadata={"user_id": "4711"})
    memory = queue.memory.remember("The supplier quotes prices without tax, rounding up", agent_id=FINANCIAL)
    trigger = extractor.when(all_of("never")).then(queue.app.tasks["calculate"].s("q3"))
    terms, run = manager.terms, manager.driver.run
    ref = inbox.checked(terms, "q3-close", Agent(EXTRACTOR), {"a": 1}, "replace", "op-17")
    payload = packed("q3-close", Agent(EXTRACTOR), {"a": 1}, "replace")
    run(inbox.enqueue(terms, ref, payload, outgoing=Outgoing("app\0q3-close\0op-17\0update", b"m"), drain=None))
    run(inbox.bury(terms, ref, payload, 3, "it crashed"))
    park(queue)
    return {
        "0199b3c2-7d1e-7000-8000-5a1b2c3d4e5f": RUN,
        "4f6c1c0e-8a0f-4f0e-9d43-0d6c2b1c7a11": TASK,
        "447afdea9cab81f1-57b2c9e6aa76a6e77f578786549f4248": memory,
        "0199b3c2": trigger.id,
        "q3-close:web_extractor_001:op-17": str(ref),
    }


def park(queue: ContextQueue) -> None:
    """Do what a worker does with a task whose key is not there."""
    manager, agent, condition = queue.manager, Agent(FINANCIAL), as_condition("approval")
    first, second = (item_id(manager.terms.app, "q3-close", RUN, Position(0, leg)) for leg in (0, 1))
    message = frozen(queue.app, "calculate", ("q3",), {"task_id": TASK})
    ticket = attempts.Ticket("q3-close", RUN, Position(0, 0), first, TASK)
    claimed, _, _ = manager.driver.run(attempts.claim(manager.terms, ticket, agent, condition, lambda: message))
    attempt = Attempt(RUN, 0, "q3-close", claimed.epoch)
    armed, _ = manager.driver.run(attempts.park(manager.terms, attempt, agent, condition, second, message, 600.0))
    assert armed.answer == "parked"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What the examples read from files."""
    (tmp_path / "password.txt").write_text("s3cret\n", encoding="utf-8")
    with chdir(tmp_path):
        yield tmp_path


def project(url: str, line: str) -> Project:
    """Make one; for an example that imports there is an export, and no workflow any more."""
    queue: ContextQueue = import_module("tests.integration.projects.typed.proj.celery").build(url)
    made = Project(queue, filled(queue))
    if "ctx import" in line:
        assert told(queue.app, "export", "q3-close", "q2-close", "--output", "quarters.jsonl").status == 0
        assert told(queue.app, "erase", "--namespace", "default", "--yes").status == 0
    return made


def here(queue: ContextQueue, line: str) -> Told:
    """Run a line as a shell does, but its ``celery`` in this process."""
    line, _, rest = line.partition(" | ")
    line, _, target = line.partition(" > ")
    line, _, source = line.partition(" < ")
    celery, app, name, ctx, *words = shlex.split(line)
    assert (celery, app, name, ctx) == ("celery", "-A", "proj", "ctx")
    done = told(queue.app, *words, given=Path(source).read_text(encoding="utf-8") if source else None)
    if target:
        Path(target).write_text(done.stdout, encoding="utf-8")
    if rest:
        subprocess.run(["/bin/sh", "-c", rest], input=done.stdout.encode(), check=True)
    return done


def judge(line: str, status: int, stdout: str) -> None:
    assert status == int(line.endswith("uninstall-check"))  # there is something left
    if line.endswith("--json"):
        assert [json.loads(row) for row in stdout.splitlines()] or "--older-than" in line
    written = re.search(r"(?:> |--output )(\S+)", line)
    if written is not None:
        assert Path(written[1]).exists()
    elif not line.endswith(SILENT):
        assert stdout


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not line.startswith(OF_A_SHELL)])
def test_an_example_works_as_it_is_typed(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TYPED)
    in_a_file = line.endswith(("migrate", "check --json"))  # what is in memory has no tables, and is an error
    made = project(f"sqlite:///{folder}/context.db" if in_a_file else "memory://", line)
    hurried = made.line(line).replace("--timeout 5", "--timeout 0.05")
    try:
        done = here(made.queue, hurried + (" --timeout 0.05" if line.endswith("watch q3-close") else ""))
        judge(line, done.status, done.stdout)
    finally:
        made.queue.manager.close()
        for module in ("proj", "proj.models"):
            sys.modules.pop(module, None)


ASKS_NO_SERVER = {
    "celery -A proj ctx check --json": 1,
    "celery -A proj ctx migrate": 2,
    **{line: 0 for line in EXAMPLES if " policy explain " in line},
}
"""And its status: what it finds, that there are no tables, what the rules say."""


@pytest.mark.parametrize("line", FIRST)
@pytest.mark.usefixtures("folder")
def test_without_a_server_a_command_says_so_in_one_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TYPED)
    if "ctx import" in line:
        project("memory://", line).queue.manager.close()  # leaves the file
    away: ContextQueue = import_module("tests.integration.projects.typed.proj.celery").build(
        "redis://:s3cr3t@127.0.0.1:1/0"
    )
    done = here(away, line)
    away.manager.close()
    for module in ("proj", "proj.models"):
        sys.modules.pop(module, None)
    if line in ASKS_NO_SERVER:
        assert done.status == ASKS_NO_SERVER[line]
    else:
        *warnings, error = done.stderr.splitlines()
        assert (done.status, done.stdout, len(warnings)) == (3, "", int("ctx unread" in line))
        assert error.startswith("Error: the server at 127.0.0.1:1 does not answer")
    assert "s3cr3t" not in done.stdout + done.stderr


def something_shown(running: subprocess.Popen[str], queue: ContextQueue) -> bool:
    """Change something, and look whether that, or anything, was told."""
    queue.workflow("q3-close").put("rate_chf", 1)
    assert running.stdout is not None
    return bool(select.select([running.stdout], [], [], 0.05)[0])


@pytest.mark.long
@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_works_in_a_shell(line: str, folder: Path) -> None:
    made = project(f"sqlite:///{folder}/context.db", line)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": f"{TYPED}:{ROOT}",
        "CTXQUEUE_BACKEND_URL": f"sqlite:///{folder}/context.db",
    }
    stopped = line.endswith(UNTIL_STOPPED)
    words = ["bash", "-o", "pipefail", "-c", f"exec {made.line(line)}" if stopped else made.line(line)]
    with subprocess.Popen(words, env=environment, stdout=-1, stderr=-1, text=True, preexec_fn=hear_ctrl_c) as running:  # noqa: PLW1509 - no threads
        if stopped:
            wait_until(partial(something_shown, running, made.queue), f"{line} shows something")
            running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    made.queue.manager.close()
    assert "Traceback" not in stderr
    judge(line, running.returncode, stdout)
