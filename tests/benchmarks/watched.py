"""How long each call holds the server: processor time of its main thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxqueue.stores.redis import connection, scripts

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from ctxqueue.testing import EmbeddedServer

NAMES = {script.sha: script.name for script in scripts.ALL}


class Watched:
    """A server, and how much of its processor each script call took.

    That is the main thread's own time, reading and answering included. By the clock a call that lasts long would be
    charged for what else runs on the machine.
    """

    def __init__(self, server: EmbeddedServer, patch: pytest.MonkeyPatch) -> None:
        self.url = server.url()
        self._task = Path(f"/proc/{server.pid}/task/{server.pid}")
        self._noted: list[tuple[float, str]] | None = None
        self._exchange = connection.exchange
        patch.setattr(connection, "exchange", self._watch)

    def calls(self, work: Callable[[], object]) -> list[tuple[float, str]]:
        """Return microseconds and script of each call that the work made."""
        noted: list[tuple[float, str]] = []
        self._noted = noted
        try:
            work()
        finally:
            self._noted = None
        return noted

    def _watch(self, pool: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
        noted, replies = self._noted, []
        if noted is None:  # it is made ready, which would take much longer if it were watched
            found: list[Any] = self._exchange(pool, commands)
            return found
        for words in commands:  # one by one, to know what each has taken
            before = self._spent()
            replies += self._exchange(pool, [words])
            if words[0] == "EVALSHA":  # not what loads a script
                noted.append((self._spent() - before, NAMES[words[1]]))
        return replies

    def _spent(self) -> float:
        """Return microseconds, once it sleeps: the kernel settles its account then."""
        while (self._task / "stat").read_text().rpartition(")")[2].split()[0] != "S":
            pass
        return int((self._task / "schedstat").read_text().split()[0]) / 1_000
