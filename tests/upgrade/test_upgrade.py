"""What the earliest version wrote, this one reads and goes on with; what a later one wrote, it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue import CircularDependencyError, RecordTooNew, RevisionTrimmed, connect
from ctxqueue.codec import CODEC_VERSION
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker
from tests.upgrade.earlier import VALUES
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue import SharedContextManager

ROOT = Path(__file__).parents[2]


def output_of(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def earlier_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of the repository's first commit, installed there from its wheel."""
    scratch = tmp_path_factory.mktemp("earlier")
    first = output_of("git", "rev-list", "--max-parents=0", "HEAD").splitlines()[-1]
    source, wheels, installed = scratch / "source", scratch / "wheels", scratch / "installed"
    source.mkdir()
    archive = scratch / "source.tar"
    output_of("git", "archive", "--output", archive, first)
    output_of("tar", "-xf", archive, "-C", source)
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source)
    output_of(*build)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", installed)
    output_of(*pip, next(wheels.glob("*.whl")))
    return installed


@pytest.fixture
def manager(earlier_version: Path, redis_url: str) -> Iterator[SharedContextManager]:
    """A store in which the earlier version has left something."""
    environment = {**os.environ, "PYTHONPATH": str(earlier_version)}
    script = ROOT / "tests" / "upgrade" / "earlier.py"
    asked = "import ctxqueue; print(ctxqueue.__file__)"
    where = subprocess.run(
        [sys.executable, "-P", "-c", asked], env=environment, check=True, capture_output=True, text=True
    )
    assert Path(where.stdout.strip()).is_relative_to(earlier_version), "it is this version that would be asked"
    subprocess.run([sys.executable, "-P", script, redis_url], env=environment, check=True)
    with connect(redis_url) as manager:
        yield manager


def test_all_of_it_is_read(manager: SharedContextManager) -> None:
    wf = manager.workflow(WORKFLOW, agent_id="analyst_001", groups=["audit"])
    assert wf.open().metadata == {"owner": "finance"}
    wait_until(lambda: wf.get("soon") is None, "it has expired")
    view = wf.view()
    assert {key: view[key] for key in VALUES} == VALUES
    rest = {"list": [1, 2], "private_notes": 1, "shared": 1, "global_rates": {"USD": 1}, "late": 1}
    assert dict(view) == VALUES | rest
    entry = view.entry("list")
    assert (entry.priority.value, entry.metadata, entry.dependencies) == ("high", {"m": 1}, ("text",))
    assert wf.get("gone") is None
    listed = {entry.key for entry in wf.list(limit=100)}
    assert listed == set(view)


def test_it_is_gone_on_with(manager: SharedContextManager) -> None:
    wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
    wf.open()
    wait_until(lambda: wf.get("soon") is None, "it has expired")
    assert manager.cleanup_expired_contexts().expired == 1
    assert wf.update({"list": [2]}, merge_strategy="append", operation_id="o").replayed is True
    version = wf.get("list").version  # type: ignore[union-attr]
    assert wf.put("list", [3], expected_version=version, depends_on=["text"]).version == version + 1
    assert [entry.value for entry in wf.history("list")] == [[3], [1, 2]]
    assert wf.update({"text": "y"}).versions == {"text": 2}
    assert wf.stale() == ["list"]
    with pytest.raises(CircularDependencyError):
        wf.put("text", 1, depends_on=["list"])
    with pytest.raises(RevisionTrimmed):
        wf.changes()
    assert {change.key for change in wf.changes(wf.view().revision - 2)} == {"list", "text"}
    assert wf.delete("decimal") is True
    wf.put("gone", 2)
    assert wf["gone"] == 2


def test_a_run_that_was_parked_is_released(manager: SharedContextManager, redis_url: str) -> None:
    worker = Worker(redis_url)
    manager.workflow(WORKFLOW).put("awaited", 1)
    assert worker.deliver() == [b"r/0.1"]
    back = worker.claim("r", leg=1, needs="awaited")
    assert (back.word, back.missing, back.claimed.epoch) == ("run", (), 2)
    assert worker.finish(back) is True
    worker.manager.close()


def test_it_can_be_removed(manager: SharedContextManager, redis_url: str) -> None:
    manager.workflow(WORKFLOW).remove()
    with redis.Redis.from_url(redis_url) as client:
        left = [name for name in client.scan_iter(count=1_000) if client.pttl(name) < 0]
    parts = workflow_keys("default", WORKFLOW)
    assert [name for name in left if name.decode().startswith(f"{parts.prefix}:")] == []


def test_what_a_newer_version_wrote_is_left_alone(manager: SharedContextManager, redis_url: str) -> None:
    wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
    keys = workflow_keys("default", WORKFLOW)
    address = "w\0\0text"
    with redis.Redis.from_url(redis_url) as client:
        record = client.hget(keys.e, address)
        assert record is not None
        newer = bytes([CODEC_VERSION + 1]) + record[1:]
        client.hset(keys.e, address, newer)
        for call in (lambda: wf.get("text"), lambda: wf.update({"text": {"a": 1}}), wf.view, wf.list):
            with pytest.raises(RecordTooNew, match="upgrade"):
                call()
        assert client.hget(keys.e, address) == newer
    assert wf["list"] == [1, 2]
