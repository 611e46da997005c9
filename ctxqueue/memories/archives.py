"""Memories that retention removes, written to a file before: one JSON object a line."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ctxqueue.errors import ConfigurationError
from ctxqueue.flows.keeping import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import StoredMemory
    from ctxqueue.remembered import Owner


class Archive:
    """One run's file in a folder; made with its first row. A row may stand in two files, if a run was cut off."""

    def __init__(self, folder: str | Path, namespace: str) -> None:
        """Name a folder, which is made if it is not there; raises ConfigurationError."""
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the archive {str(folder)!r} cannot be used: {error}") from error
        begun = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        self.path = self._folder / f"memories-{namespace}-{begun}-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        self._file: Any = None

    def write(self, owner: Owner, rows: Sequence[StoredMemory]) -> None:
        """Append rows; they are on the disk when it returns."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
            self.path.chmod(0o600)
        for row in rows:
            self._file.write(json.dumps(_plain(owner, row), ensure_ascii=False, default=str) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()


def _plain(owner: Owner, row: StoredMemory) -> dict[str, Any]:
    entry = read(row)
    return {
        "id": entry.id,
        "memory_type": entry.memory_type,
        "content": entry.content,
        "metadata": dict(entry.metadata),
        "scope": entry.scope.value,
        "agent_id": owner.agent or entry.agent_id,
        "user_id": owner.user or entry.user_id,
        "at": entry.timestamp.isoformat(),
        "created_at": entry.created_at.isoformat() if entry.created_at else None,
        "session": entry.session,
        "sequence": entry.sequence,
        "speaker": entry.speaker,
        "importance": entry.importance,
        "access_count": entry.access_count,
        "superseded_by": entry.superseded_by,
    }
