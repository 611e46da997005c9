"""Follows one message through everything that the server wrote, to say where it was lost."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GAP = "lost"
"""Taken from the queue by a worker that was killed before kombu had noted it as taken."""


class Journal:
    """The server's append-only file: each command that changed something, in order."""

    def __init__(self, folder: Path) -> None:
        self.commands = [command for path in sorted(folder.glob("*/*.incr.aof")) for command in _commands(path)]

    def fate(self, task_id: str, queue: str) -> str:
        """Say what became of a task's last message."""
        marked = f'"id": "{task_id}"'.encode()
        tag, place = "", "never published"
        for command in self.commands:
            name = command[0].upper()
            if name in (b"LPUSH", b"RPUSH") and command[1] == queue.encode() and marked in command[2]:
                tag, place = json.loads(command[2])["properties"]["delivery_tag"], GAP
            elif tag and name == b"HSET" and command[1:3] == [b"unacked", tag.encode()]:
                place = "taken"
            elif tag and name == b"HDEL" and command[1:3] == [b"unacked", tag.encode()]:
                place = "acknowledged"
        return place


def _commands(path: Path) -> Iterator[list[bytes]]:
    """Read commands in the server's wire format: ``*<words>``, then ``$<bytes>`` and the word, each."""
    data = path.read_bytes()
    head = re.compile(rb"[*$#](\d*)[^\r\n]*\r?\n")
    at = 0
    while (found := head.match(data, at)) is not None:
        at = found.end()
        if data[found.start() : found.start() + 1] == b"#":  # a time stamp
            continue
        words = []
        for _ in range(int(found[1])):
            word = head.match(data, at)
            if word is None:
                return
            end = word.end() + int(word[1])
            words.append(data[word.end() : end])
            at = end + 2
        yield words
