"""``celery -A proj ctx``: export and import, whole or refused; what is erased; what is left before one leaves."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue import Put, StoreUnavailable, WorkflowNotFound, all_of
from ctxqueue.integration import transferring
from tests.integration.commands import told, told_as_typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.integration.install import ContextQueue

VALUES: dict[str, Any] = {
    "plain": {"a": [1, 2.5, None, "ü\n"]},
    "day": datetime(2026, 1, 2, tzinfo=UTC),
    "sum": {"eur": Decimal("1.10")},
    "raw": b"\x00\xff",
    "pair": (1, 2),
}


def made(name: str) -> ContextQueue:
    app = Celery(name, set_as_current=False, broker="memory://", backend="cache+memory://")
    return ctxqueue.install(app, backend_url="memory://")


@pytest.fixture
def queue() -> Iterator[ContextQueue]:
    queue = made("here")
    writer = queue.workflow("q3", agent_id="filler_1", groups=["audit"])
    writer.open({"since": datetime(2026, 1, 1, tzinfo=UTC)})
    writer.update(VALUES)
    writer.put("api_key", "s3cret")
    writer.put("note", "mine", scope="private")
    writer.put("plan", "ours", group="audit", priority="high", pinned=True, depends_on=["plain"], metadata={"x": 1})
    writer.put("lasting", 1, ttl=3_600)
    writer.put("everywhere", 1, scope="global")
    queue.workflow("q3").put("by_hand", 1)
    yield queue
    queue.manager.close()


@pytest.fixture
def there() -> Iterator[ContextQueue]:
    there = made("there")
    yield there
    there.manager.close()


def exported(queue: ContextQueue, path: Path, *options: str) -> Path:
    assert told(queue.app, "export", "q3", "--output", str(path), *options).status == 0
    return path


def standing(queue: ContextQueue) -> dict[str, tuple[Any, ...]]:
    return {
        f"{entry.owner}/{entry.key}": (
            *(entry.value, entry.agent_id, entry.scope, entry.priority, entry.pinned, entry.sensitive),
            *(entry.dependencies, entry.metadata, entry.expires_at is not None),
        )
        for entry in queue.workflow("q3").list(limit=1_000, reveal=True)
    }


def test_what_is_imported_is_what_was_exported(queue: ContextQueue, there: ContextQueue, tmp_path: Path) -> None:
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal", "--global")
    told_of = told(there.app, "import", str(path), "--json").rows()[0]
    assert told_of == {"workflows": 1, "entries": 11, "withheld": 0, "expired": 0, "kept": 0}
    assert standing(there) == standing(queue)
    assert there.workflow("q3").open().metadata == {"since": datetime(2026, 1, 1, tzinfo=UTC)}
    lasting = there.workflow("q3").get("lasting")
    assert lasting is not None
    assert lasting.expires_at is not None
    assert 3_500 < (lasting.expires_at - datetime.now(UTC)).total_seconds() <= 3_600


def test_sensitive_values_stay_where_they_are_unless_revealed(
    queue: ContextQueue, there: ContextQueue, tmp_path: Path
) -> None:
    path = exported(queue, tmp_path / "q3.jsonl")
    assert "s3cret" not in path.read_text(encoding="utf-8")
    assert "1 withheld" in told(there.app, "import", str(path)).stdout
    assert there.workflow("q3").get("api_key") is None


def test_a_pipe_will_do_and_nothing_is_left_beside_a_file(
    queue: ContextQueue, there: ContextQueue, tmp_path: Path
) -> None:
    piped = told(queue.app, "export", "--all", "--reveal").stdout
    assert told(there.app, "import", "-", given=piped).status == 0
    assert there.workflow("q3")["plain"] == VALUES["plain"]
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal")
    assert sorted(tmp_path.iterdir()) == [path]
    assert path.read_text(encoding="utf-8") == piped


def test_a_file_that_is_there_is_kept(queue: ContextQueue, tmp_path: Path) -> None:
    path = tmp_path / "q3.jsonl"
    path.write_text("precious", encoding="utf-8")
    refused = told(queue.app, "export", "q3", "--output", str(path))
    assert (refused.status, path.read_text(encoding="utf-8")) == (1, "precious")
    exported(queue, path, "--force")


def test_an_export_that_fails_leaves_no_file(
    queue: ContextQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_given: Any) -> Any:
        raise StoreUnavailable("the wire was cut")

    monkeypatch.setattr(transferring, "_entry", cut)
    assert told(queue.app, "export", "q3", "--output", str(tmp_path / "q3.jsonl")).status == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["no last line", "half a line", "no entry", "another value", "twice", "not ours"])
def test_an_export_that_is_not_whole_is_refused_and_nothing_is_written(
    queue: ContextQueue, there: ContextQueue, tmp_path: Path, damage: str
) -> None:
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal")
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = {
        "no last line": lines[:-1],
        "half a line": [*lines[:5], lines[5][:20]],
        "no entry": [*lines[:4], *lines[5:]],
        "another value": [line.replace(b"mine", b"hers") for line in lines],
        "twice": [*lines, *lines],
        "not ours": [b'{"key": "a"}\n'],
    }[damage]
    path.write_bytes(b"".join(damaged))
    refused = told(there.app, "import", str(path))
    assert (refused.status, refused.stdout) == (2, "")
    assert there.manager.workflows().items == ()


def test_a_workflow_that_is_there_is_left_alone(queue: ContextQueue, tmp_path: Path) -> None:
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal")
    before = queue.workflow("q3").etag
    refused = told(queue.app, "import", str(path))
    assert (refused.status, "'q3' exists" in refused.stderr) == (1, True)
    assert queue.workflow("q3").etag == before


@pytest.mark.parametrize("written", [0, 1, 3])
def test_an_import_that_was_cut_off_goes_on_and_keeps_what_agents_have_written_since(
    queue: ContextQueue, there: ContextQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal")
    batches = iter(range(written))
    write = transferring._write  # noqa: SLF001 - it dies in there

    def dying(*given: Any) -> int:
        if next(batches, None) is None:
            raise StoreUnavailable("the wire was cut")
        return write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(transferring, "_write", dying)
        assert told(there.app, "import", str(path)).status == 3
    reader = there.workflow("q3", agent_id="filler_1")
    if written:
        reader.put("note", "newer", scope="private")
    assert told(there.app, "import", str(path)).status == 1  # it is there
    assert told(there.app, "import", str(path), "--resume").status == 0
    assert standing(there).keys() == {place for place in standing(queue) if place != "/everywhere"}
    assert reader["note"] == ("newer" if written else "mine")
    assert told(there.app, "import", str(path), "--resume").status == 0
    assert reader["note"] == ("newer" if written else "mine")


@pytest.mark.parametrize("on_divergence", ["first", "apply", "error"])
def test_an_import_writes_over_nothing_whatever_stands_there(
    queue: ContextQueue, there: ContextQueue, tmp_path: Path, on_divergence: str
) -> None:
    there.app.conf.ctxqueue_on_divergence = on_divergence
    path = exported(queue, tmp_path / "q3.jsonl", "--reveal", "--global")
    agent = there.workflow("q3", agent_id="filler_1")
    agent.open()
    agent.update({"plain": "newer", "lasting": "newer", "everywhere_not": 1})
    there.workflow("q3").put("everywhere", "newer", scope="global")
    before = standing(there)
    for _ in range(2):
        done = told(there.app, "import", str(path), "--resume", "--json").rows()[0]
        assert (done["entries"], done["kept"]) == (8, 3)
        after = standing(there)
        assert {place: after[place] for place in before} == before
        assert after.keys() == {*standing(queue), *before}


def test_a_failed_export_writes_no_line(queue: ContextQueue) -> None:
    refused = told(queue.app, "export", "q3", "nowhere")
    assert (refused.status, refused.stdout) == (1, "")


def test_a_dry_run_writes_nothing(queue: ContextQueue, there: ContextQueue, tmp_path: Path) -> None:
    path = exported(queue, tmp_path / "q3.jsonl")
    assert "1 workflows and 10 entries" in told(there.app, "import", str(path), "--dry-run").stdout
    assert there.manager.workflows().items == ()


def test_many_entries_go_in_few_commits(queue: ContextQueue, there: ContextQueue, tmp_path: Path) -> None:
    many = queue.workflow("many", agent_id="filler_1")
    many.open()
    for first in range(0, 1_000, 200):
        many.update({f"k{number}": number for number in range(first, first + 200)})
    path = tmp_path / "many.jsonl"
    assert told(queue.app, "export", "many", "--output", str(path)).status == 0
    assert told(there.app, "import", str(path)).status == 0
    assert (there.manager.summary("many").entries, there.manager.summary("many").revision) == (1_000, 10)


def test_what_is_of_an_agent_or_a_user_is_erased_when_that_is_confirmed(queue: ContextQueue) -> None:
    queue.workflow("q3").update({"letter": Put("dear", metadata={"user_id": "4711"})})
    assert told(queue.app, "erase", "--user", "4711", given="n\n").status == 1
    assert queue.workflow("q3")["letter"] == "dear"
    assert told(queue.app, "erase", "--user", "4711", "--yes", "--json").rows()[0]["entries"] == 1
    assert "removed" in told(queue.app, "erase", "--agent", "filler_1", "--yes").stdout
    assert set(queue.workflow("q3").view()) == {"by_hand"}
    assert told(queue.app, "erase").status == 2
    assert told(queue.app, "erase", "--agent", "a", "--user", "b").status == 2
    assert told(queue.app, "erase", "--namespace", "another", "--yes").status != 0
    assert set(queue.workflow("q3").view()) == {"by_hand"}
    assert told(queue.app, "erase", "--namespace", "default", "--yes").status == 0
    with pytest.raises(WorkflowNotFound):
        queue.workflow("q3").view()


def test_what_is_left_is_said_before_one_leaves(queue: ContextQueue, there: ContextQueue) -> None:
    queue.workflow("q3").when(all_of("never")).then(queue.app.signature("nothing"))
    queue.memory.remember("water boils at 100 degrees")
    left = told(queue.app, "uninstall-check")
    assert (left.status, "1 armed triggers: they will never fire" in left.stdout) == (1, True)
    counts = json.loads(told(queue.app, "uninstall-check", "--json").stdout)
    assert (counts["workflows"], counts["global_entries"], counts["memories"]) == (1, 1, 1)
    assert counts["audit_records"] == 1  # of the api_key that was written
    nothing = told(there.app, "uninstall-check")
    assert (nothing.status, nothing.stdout.startswith("nothing is left")) == (0, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    script = told_as_typed("ctx", "completion", shell)
    assert (script.status, "_CELERY_COMPLETE" in script.stdout) == (0, True)


WRONG = [
    (["export"], 2),
    (["export", "q3", "--all"], 2),
    (["export", "nowhere"], 1),
    (["export", "q3", "--output", "/nowhere/q3.jsonl"], 1),
    (["import", "/nowhere/q3.jsonl"], 1),
    (["import"], 2),
    (["completion", "powershell"], 2),
]


@pytest.mark.parametrize(("arguments", "status"), WRONG, ids=[" ".join(each) for each, _ in WRONG])
def test_what_is_wrong_is_one_line_and_a_status(queue: ContextQueue, arguments: list[str], status: int) -> None:
    refused = told(queue.app, *arguments)
    assert refused.status == status
    assert "Error: " in refused.stderr.splitlines()[-1]
