"""Archives of memories: encrypted where there is a keyring, read again, rotated and erased from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import CallableEmbedder, VectorMemoryManager, connect
from ctxqueue.errors import ConfigurationError, DecryptionError, InvalidInput, RecordDamaged
from ctxqueue.keyring import Keyring, new_key
from ctxqueue.memories.archives import Archive, erase_archives, read_archive, rotate_archives
from ctxqueue.remembered import Owner, owner_digest_of

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "the harbour opens at dawn"
EVERYTHING = dict.fromkeys(("semantic", "episodic", "procedural"), (1e-6, 1000))
OLD, NEW = new_key(), new_key()


def archived(folder: Path, keyring: Keyring | None, *, namespace: str = "default") -> Path:
    embedder = CallableEmbedder(lambda texts: [[float(len(text)), 1.0] for text in texts], name="lengths")
    with connect("memory://", namespace=namespace, keyring=keyring) as manager:
        memory = VectorMemoryManager(manager, embedder=embedder, retention=EVERYTHING)
        memory.remember(SECRET, agent_id="ann_1")
        memory.remember("Ann told her group", agent_id="ann_1", scope="agent_group")
        memory.remember("about Eve", metadata={"user_id": "eve"})
        memory.remember("of Eve", user_id="eve")
        memory.remember("of nobody")
        report = memory.apply_retention(archive=folder)
        assert report.total == 5
    (path,) = folder.glob(f"memories-{namespace}-20*")
    assert path.stat().st_mode & 0o777 == 0o600
    return path


def contents(path: Path, *arguments: Any) -> set[str]:
    return {told["content"] for told in read_archive(path, *arguments)}


def test_with_a_keyring_no_line_is_in_clear(tmp_path: Path) -> None:
    keyring = Keyring({"old": OLD})
    path = archived(tmp_path, keyring)
    assert SECRET not in path.read_text(encoding="utf-8")
    assert "ann_1" not in path.read_text(encoding="utf-8")
    assert contents(path, "default", keyring) >= {SECRET, "of nobody"}
    with pytest.raises(ConfigurationError, match="keyring"):
        contents(path)
    with pytest.raises(DecryptionError):
        contents(path, "another", keyring)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0]["id"], lines[1]["id"] = lines[1]["id"], lines[0]["id"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(DecryptionError):
        contents(path, "default", keyring)


def test_archives_go_under_the_newest_key_those_in_clear_too(tmp_path: Path) -> None:
    archived(tmp_path, Keyring({"old": OLD}))
    archived(tmp_path, None, namespace="default-2")
    both = Keyring({"old": OLD, "new": NEW})
    assert rotate_archives(tmp_path, "default", both) == (1, 5, 0, 0, 0)
    assert rotate_archives(tmp_path, "default", both) == (1, 0, 0, 0, 0)
    assert rotate_archives(tmp_path, "default-2", both) == (1, 5, 0, 0, 0)
    for namespace in ("default", "default-2"):
        (path,) = tmp_path.glob(f"memories-{namespace}-20*")
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(contents(path, namespace, Keyring({"new": NEW}))) == 5
    assert rotate_archives(tmp_path, "default", Keyring({"a third": new_key()})).refused == 5
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("keyring", [None, Keyring({"old": OLD})], ids=["clear", "sealed"])
def test_what_is_erased_goes_from_archives_too(tmp_path: Path, keyring: Keyring | None) -> None:
    path = archived(tmp_path, keyring)
    assert erase_archives(tmp_path, "default", keyring, agent_id="ann_1").removed == 2
    assert contents(path, "default", keyring) == {"about Eve", "of Eve", "of nobody"}
    assert erase_archives(tmp_path, "default", keyring, user_id="eve").removed == 2
    assert contents(path, "default", keyring) == {"of nobody"}
    assert erase_archives(tmp_path, "default", keyring, user_id="eve") == (1, 0, 0, 0, 0)
    with pytest.raises(InvalidInput):
        erase_archives(tmp_path, "default")


def test_a_torn_line_stays_and_an_empty_file_goes(tmp_path: Path) -> None:
    path = archived(tmp_path, None)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    assert erase_archives(tmp_path, "default", agent_id="ann_1") == (1, 0, 2, 1, 0)
    assert path.read_text(encoding="utf-8").endswith(whole[-60:-20])
    assert erase_archives(tmp_path, "default", everybody=True).removed == 3
    assert list(tmp_path.iterdir()) == []
    path.write_text(next(line for line in whole.splitlines() if SECRET in line) + "\n", encoding="utf-8")
    assert erase_archives(tmp_path, "default", agent_id="ann_1").removed == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_has_half_written_hides_nothing(tmp_path: Path) -> None:
    memory = VectorMemoryManager(embedder=lambda texts: [[1.0] for _ in texts])
    memory.remember("caf\u00e9", agent_id="ann_1")
    (row,) = memory.driver.run(_rows(memory))
    with Archive(tmp_path, "default") as archive:
        archive.write(Owner.parse("p\0ann_1\0"), [row])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: whole.index(b"\xc3") + 1])
    assert contents(path, "default") == {"caf\u00e9"}
    assert erase_archives(tmp_path, "default", agent_id="bob_1") == (1, 0, 0, 1, 0)
    assert erase_archives(tmp_path, "default", agent_id="ann_1") == (1, 0, 1, 1, 0)
    assert path.read_bytes() == whole[: whole.index(b"\xc3") + 1]
    path.write_bytes(b"none\n" + whole)
    with pytest.raises(RecordDamaged, match="line 1"):
        contents(path, "default")


def test_a_file_that_a_run_writes_to_is_left_for_the_next_time(tmp_path: Path) -> None:
    memory = VectorMemoryManager(embedder=lambda texts: [[1.0] for _ in texts])
    memory.remember(SECRET, agent_id="ann_1")
    (row,) = memory.driver.run(_rows(memory))
    with Archive(tmp_path, "default") as archive:
        archive.write(Owner.parse("p\0ann_1\0"), [row])
        assert erase_archives(tmp_path, "default", agent_id="ann_1") == (1, 0, 0, 0, 1)
        archive.write(Owner.parse("p\0ann_1\0"), [row])
    assert erase_archives(tmp_path, "default", agent_id="ann_1").removed == 2


def _rows(memory: VectorMemoryManager) -> Any:
    from ctxqueue.effects import GetMemories, do  # noqa: PLC0415

    (entry,) = memory.list()
    rows, _ = yield from do(GetMemories(owner_digest_of(entry.id), (entry.id,)))
    return list(rows.values())
