"""Memories that retention removes, written to a file before: one JSON object a line, encrypted where a keyring is.

A line that is encrypted has the memory's id and its envelope, which is bound to both the namespace and the id. Files
are rewritten as a whole, and one that a run still writes to is left for the next time.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ctxqueue.errors import ConfigurationError, CtxqueueError, InvalidInput, RecordDamaged
from ctxqueue.flows.keeping import read
from ctxqueue.models import ContextScope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ctxqueue.effects import StoredMemory
    from ctxqueue.keyring import Keyring
    from ctxqueue.remembered import Owner


TORN: Final = "surrogateescape"
"""How bytes are read, and written as they were, that are no text: a run that is killed may leave half a character."""


class ArchiveReport(NamedTuple):
    """What was done to a folder's files: lines encrypted anew or removed, and what was left as it is."""

    files: int
    renewed: int
    removed: int
    refused: int
    """Lines that do not open, or are none."""
    busy: int
    """Files that a run writes to."""


class Archive:
    """One run's file in a folder; made with its first row. A row may stand in two files, if a run was cut off."""

    def __init__(self, folder: str | Path, namespace: str, keyring: Keyring | None = None) -> None:
        """Name a folder, which is made if it is not there; raises ConfigurationError."""
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the archive {str(folder)!r} cannot be used: {error}") from error
        begun = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        self.path = self._folder / f"memories-{namespace}-{begun}-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        self._namespace, self._keyring = namespace, keyring
        self._file: Any = None

    def write(self, owner: Owner, rows: Sequence[StoredMemory]) -> None:
        """Append rows; they are on the disk when it returns."""
        if self._file is None:
            self._file = _opened(self.path)
            fcntl.flock(self._file, fcntl.LOCK_SH)
        for row in rows:
            self._file.write(_line(_plain(owner, row), self._namespace, self._keyring))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()


def read_archive(
    path: str | Path, namespace: str = "default", keyring: Keyring | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the memories of one file; raises DecryptionError, ConfigurationError where a keyring is needed.

    A last line without its end is passed over: the run was killed while it wrote it, and had not removed what it tells
    of. Raises RecordDamaged for any other line that is none.
    """
    with Path(path).open(encoding="utf-8", errors=TORN) as file:
        for number, line in enumerate(file, 1):
            try:
                told = json.loads(line)
            except ValueError as error:
                if not line.endswith("\n"):
                    return
                raise RecordDamaged(f"line {number} of the archive {str(path)!r} is no JSON: {error}") from error
            yield _content(told, namespace, keyring)


def rotate_archives(folder: str | Path, namespace: str, keyring: Keyring) -> ArchiveReport:
    """Encrypt all lines of a namespace's files with the newest key, those in clear too."""

    def renewed(packed_line: str) -> str | None:
        line = json.loads(packed_line)
        packed = line.get("sealed")
        if packed is not None and keyring.is_newest(base64.b64decode(packed)):
            return None
        return _line(_content(line, namespace, keyring), namespace, keyring)

    return _rewritten(folder, namespace, renewed)


def erase_archives(
    folder: str | Path,
    namespace: str,
    keyring: Keyring | None = None,
    *,
    agent_id: str | None = None,
    user_id: str | None = None,
    everybody: bool = False,
) -> ArchiveReport:
    """Remove the lines that are an agent's, about a user, or all, as `erase` does in a store; raises InvalidInput."""
    if (agent_id is not None) + (user_id is not None) + bool(everybody) != 1:
        raise InvalidInput("erase takes an agent_id, a user_id, or everybody")

    def without(line: str) -> str | None:
        if everybody:
            return ""
        told = _content(json.loads(line), namespace, keyring)
        about = [told.get("user_id"), told.get("metadata", {}).get("user_id")]
        return "" if (told.get("agent_id") == agent_id if user_id is None else user_id in about) else None

    return _rewritten(folder, namespace, without)


def _rewritten(folder: str | Path, namespace: str, change: Callable[[str], str | None]) -> ArchiveReport:
    """Go through all files; ``change`` returns a line's new form, "" for none, None if it stays."""
    ours = re.compile(rf"memories-{re.escape(namespace)}-\d{{8}}T\d{{6}}-\d+-[0-9a-f]{{6}}\.jsonl")
    files = renewed = removed = refused = busy = 0
    for path in sorted(each for each in Path(folder).glob("memories-*.jsonl") if ours.fullmatch(each.name)):
        files += 1
        with _held(path) as lines:
            if lines is None:
                busy += 1
                continue
            written = []
            for line in lines:
                try:
                    new = change(line)
                except (ValueError, TypeError, AttributeError, CtxqueueError):  # counted, and kept as it is
                    refused += 1
                    new = None
                removed += new == ""
                renewed += bool(new)
                written.append(line if new is None else new)
            if written != lines:
                _replace(path, written)
    return ArchiveReport(files, renewed, removed, refused, busy)


@contextmanager
def _held(path: Path) -> Iterator[list[str] | None]:
    """Yield a file's lines while nobody else writes to it or rewrites it; None if somebody does."""
    with path.open(encoding="utf-8", errors=TORN) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        same = path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
        yield file.readlines() if same else None


def _replace(path: Path, lines: list[str]) -> None:
    """Put other lines in a file's place, in one step; without any it goes."""
    if not lines or not any(lines):
        path.unlink()
        return
    beside = path.with_suffix(f".{os.urandom(3).hex()}.new")
    with _opened(beside) as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _opened(path: Path) -> Any:
    """Open a new file that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", errors=TORN)


def _line(told: dict[str, Any], namespace: str, keyring: Keyring | None) -> str:
    line = json.dumps(told, ensure_ascii=False, default=str)
    if keyring is not None:
        sealed = keyring.seal(_place(namespace, told["id"]), line.encode())
        line = json.dumps({"id": told["id"], "sealed": base64.b64encode(sealed).decode()})
    return line + "\n"


def _content(line: dict[str, Any], namespace: str, keyring: Keyring | None) -> dict[str, Any]:
    """Return what a line tells."""
    if "sealed" not in line:
        return line
    if keyring is None:
        raise ConfigurationError("the archive is encrypted: give the keyring")
    told: dict[str, Any] = json.loads(keyring.open(_place(namespace, line["id"]), base64.b64decode(line["sealed"])))
    return told


def _place(namespace: str, memory_id: str) -> tuple[str, str, str]:
    return ("archive", namespace, memory_id)


def _plain(owner: Owner, row: StoredMemory) -> dict[str, Any]:
    entry = read(row)
    private = owner.scope is ContextScope.PRIVATE
    return {
        "id": entry.id,
        "memory_type": entry.memory_type,
        "content": entry.content,
        "metadata": dict(entry.metadata),
        "scope": entry.scope.value,
        "group": owner.agent if owner.scope is ContextScope.AGENT_GROUP else "",
        "agent_id": entry.agent_id or (owner.agent if private else ""),
        "user_id": entry.user_id or (owner.user if private else ""),
        "at": entry.timestamp.isoformat(),
        "created_at": entry.created_at.isoformat() if entry.created_at else None,
        "session": entry.session,
        "sequence": entry.sequence,
        "speaker": entry.speaker,
        "importance": entry.importance,
        "access_count": entry.access_count,
        "superseded_by": entry.superseded_by,
    }
