"""Telling the processes that a command has started, and those that they started: by a mark in their environment."""

from __future__ import annotations

import uuid
from pathlib import Path

NAME = "CTXQUEUE_TEST_RUN"


class Mark:
    """One mark; ``environment`` goes to the command."""

    def __init__(self) -> None:
        self.environment = {NAME: str(uuid.uuid4())}

    def processes(self) -> dict[int, str]:
        """Return the marked processes that are there: process id to command."""
        found = {}
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{NAME}={self.environment[NAME]}".encode() in environment.read_bytes():
                    found[int(environment.parent.name)] = (environment.parent / "cmdline").read_text()
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return found
