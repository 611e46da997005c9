"""``celery -A proj ctx`` as a process that is killed, stopped, or has nowhere to write: nothing is lost by it."""

from __future__ import annotations

import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.integration import transferring
from tests.integration.commands import told
from tests.integration.deployments import ROOT
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue

TYPED = ROOT / "tests" / "integration" / "projects" / "typed"
ENTRIES = 1_000
PADDING = "x" * 300
"""Of each value: what is written is more than a pipe takes, and a buffer."""


def made(url: str) -> ContextQueue:
    queue: ContextQueue = import_module("tests.integration.projects.typed.proj.celery").build(url)
    return queue


def celery(url: str, *words: str, app: str = "proj", **how: Any) -> subprocess.Popen[bytes]:
    """Start ``celery -A proj ctx ...``."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TYPED}:{ROOT}",
        "CTXQUEUE_BACKEND_URL": url,
        **how.pop("environment", {}),
    }
    command = [sys.executable, "-m", "celery", "-A", app, "ctx", *words]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.Popen(command, env=environment, preexec_fn=hear_ctrl_c, **streams)  # noqa: PLW1509 - no threads


def hear_ctrl_c() -> None:
    """A job in the background of a shell, as this process may be one, has been told not to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with a large workflow."""
    url = f"sqlite:///{tmp_path_factory.mktemp('full')}/context.db"
    queue = made(url)
    filler = queue.workflow("big", agent_id="filler_1")
    filler.open({"since": 2026})
    for first in range(0, ENTRIES, 200):
        filler.update({f"k{number:05}": [number, PADDING] for number in range(first, first + 200)})
    queue.manager.close()
    return url


@pytest.fixture
def there(tmp_path: Path) -> Iterator[ContextQueue]:
    """An empty store beside it."""
    queue = made(f"sqlite:///{tmp_path}/there.db")
    yield queue
    queue.manager.close()


def exported(url: str, path: Path, *options: str) -> Path:
    queue = made(url)
    done = told(queue.app, "export", "big", "--output", str(path), *options)
    queue.manager.close()
    assert done.status == 0, done
    return path


def standing(queue: ContextQueue) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = queue.workflow("big").list(limit=1_000, cursor=cursor or None)
        found |= {entry.key: (entry.value[0], entry.agent_id) for entry in page}
        cursor = page.next_cursor
    return found


# --- killed ------------------------------------------------------------------------------------------------------


def test_an_export_that_is_killed_leaves_the_file_that_was_there(full: str, tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("of last week", encoding="utf-8")
    unfinished = tmp_path / "big.jsonl.unfinished"
    os.mkfifo(unfinished)  # so it is in the middle when it is killed: nobody takes the rest
    with celery(full, "export", "big", "--output", str(path), "--force") as running, unfinished.open("rb") as pipe:
        beginning = pipe.read(20_000)
        running.kill()
    assert path.read_text(encoding="utf-8") == "of last week"
    unfinished.unlink()
    unfinished.write_bytes(beginning)
    exported(full, path, "--force")
    assert not unfinished.exists()
    with path.open("rb") as file:
        assert transferring.checked(file).entries == ENTRIES


def test_an_import_that_is_killed_goes_on_where_it_was(full: str, there: ContextQueue, tmp_path: Path) -> None:
    path = exported(full, tmp_path / "big.jsonl")
    with celery(there.url, "import", str(path), app="proj.dying", environment={"BATCHES": "3"}) as running:
        running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert len(standing(there)) == 300
    there.workflow("big", agent_id="filler_1").update({"k00000": [-1], "k00999": [-2]})  # one is there, one was to come
    assert told(there.app, "import", str(path)).status == 1  # not by chance: there is something of it
    done = told(there.app, "import", str(path), "--resume", "--json").rows()[0]
    assert (done["workflows"], done["entries"], done["kept"]) == (1, ENTRIES - 1, 1)
    changed = {"k00000": (-1, "filler_1"), "k00999": (-2, "filler_1")}
    assert standing(there) == {f"k{number:05}": (number, "filler_1") for number in range(ENTRIES)} | changed
    assert there.workflow("big").open().metadata == {"since": 2026}


# --- no room -----------------------------------------------------------------------------------------------------


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file grows beyond 100 KB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_export_that_finds_no_room_says_so_and_leaves_what_was_there(
    full: str, tmp_path: Path, little_room: None
) -> None:
    assert little_room is None
    path = tmp_path / "big.jsonl"
    path.write_text("of last week", encoding="utf-8")
    queue = made(full)
    refused = told(queue.app, "export", "big", "--output", str(path), "--force")
    queue.manager.close()
    assert (refused.status, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "cannot be written" in refused.stderr
    assert {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()} == {path.name: "of last week"}


def test_an_import_for_which_there_is_no_room_writes_nothing(full: str, there: ContextQueue, tmp_path: Path) -> None:
    path = exported(full, tmp_path / "big.jsonl")
    there.app.conf.ctxqueue_max_entries = ENTRIES - 1
    refused = told(there.app, "import", str(path))
    assert (refused.status, refused.stderr.count("\n")) == (1, 1)
    assert f"'big' has {ENTRIES} entries, and ctxqueue_max_entries is {ENTRIES - 1} here" in refused.stderr
    assert there.manager.workflows().items == ()


# --- a terminal, a pipe, Ctrl-C ----------------------------------------------------------------------------------


def begun(url: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a command, and read its first line; it has more to write than a pipe takes."""
    running = celery(url, *words)
    assert running.stdout is not None
    assert running.stdout.readline()
    return running


@pytest.mark.long
@pytest.mark.parametrize("words", ["show big", "show big --json", "export big", "export --all"])
def test_who_reads_the_first_line_alone_or_presses_ctrl_c_sees_no_traceback(full: str, words: str) -> None:
    with begun(full, *words.split()) as stopped:
        stopped.send_signal(signal.SIGINT)
        _, stderr = stopped.communicate()
    assert (stopped.returncode, stderr) == (130, b"")
    with begun(full, *words.split()) as closed:
        assert closed.stdout is not None
        assert closed.stderr is not None
        closed.stdout.close()
        assert (closed.wait(), closed.stderr.read()) == (141, b"")


@pytest.mark.long
@pytest.mark.parametrize("words", [["show", "big"], ["export", "big"], ["get", "big", "k00000"], ["stats", "--json"]])
def test_a_full_disk_is_one_line(full: str, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as nowhere, celery(full, *words, stdout=nowhere) as running:
        _, stderr = running.communicate()
    assert (running.returncode, stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device" in stderr


@pytest.mark.long
@pytest.mark.parametrize(("variables", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, True)])
def test_colours_are_for_a_terminal_that_wants_them(full: str, variables: dict[str, str], colours: bool) -> None:  # noqa: FBT001
    ours, theirs = pty.openpty()
    with celery(full, "workflows", stdout=theirs, environment=variables) as running:
        os.close(theirs)
        shown = b"".join(iter(lambda: read(ours), b""))
        running.communicate()
    os.close(ours)
    assert b"big" in shown
    assert (b"\x1b[" in shown) == colours


def read(terminal: int) -> bytes:
    """Return what a terminal shows; nothing once its other end is closed."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


@pytest.mark.long
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_and_names_of_workflows(full: str, tmp_path: Path, shell: str) -> None:
    """In a terminal, with the Tab key."""
    if shutil.which(shell) is None:
        pytest.fail(f"there is no {shell}: apt-get install {shell}")
    begin = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}
    places = {"PYTHONPATH": f"{TYPED}:{ROOT}", "CTXQUEUE_BACKEND_URL": full, "HOME": str(tmp_path)}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        begin,
        env={**os.environ, **variables, **places},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        seen = bytearray()

        def shows(expected: str) -> bool:
            while select.select([ours], [], [], 0.01)[0]:
                seen.extend(read(ours))
            return expected in re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]|.\x08", "", seen.decode(errors="replace"))

        if shell == "zsh":
            os.write(ours, b"autoload -Uz compinit; compinit -u -D\n")
        os.write(ours, f'eval "$(celery ctx completion {shell})"; echo rea""dy\n'.encode())
        wait_until(partial(shows, "ready"), "the shell knows how to complete")
        for typed, completed in (
            (b"celery -A proj ctx sho\t", "ctx show "),
            (b"bi\t", "show big "),
            (b"--prefi\t", "--prefix"),
        ):
            os.write(ours, typed)
            wait_until(partial(shows, completed), f"{completed!r} in {seen!r}")
        running.kill()
    os.close(ours)
