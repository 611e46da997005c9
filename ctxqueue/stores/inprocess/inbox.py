"""The updates that wait in one workflow's inbox, in this process's memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.stores.engine.held import StoredUpdate


class StoredUpdates:
    """By id; with indexes of those in the queue, those to be sent again, and the dead letters."""

    def __init__(self) -> None:
        self._updates: dict[str, StoredUpdate] = {}
        self._places: list[tuple[int, str]] = []
        self._reminders: list[tuple[int, str]] = []
        self._dead: list[str] = []

    def found(self, update_ids: Iterable[str]) -> dict[str, StoredUpdate]:
        """Return copies: the engine changes what it reads, and then saves it."""
        return {each: copy(self._updates[each]) for each in update_ids if each in self._updates}

    def first_queued(self, limit: int, max_bytes: int) -> list[StoredUpdate]:
        """Return the updates at the first places."""
        taken: list[StoredUpdate] = []
        size = 0
        for _, update_id in self._places[:limit]:
            update = self._updates[update_id]
            size += len(update.payload)
            if taken and size > max_bytes:
                break
            taken.append(copy(update))
        return taken

    def some(self, after: str, limit: int) -> list[StoredUpdate]:
        """Return updates in the order of their ids."""
        return [copy(self._updates[each]) for each in sorted(each for each in self._updates if each > after)[:limit]]

    def first_reminders(self, limit: int) -> list[StoredUpdate]:
        """Return the updates of which the message is due again soonest."""
        return [copy(self._updates[update_id]) for _, update_id in self._reminders[:limit]]

    def dead(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Return dead letters in the order of their ids."""
        following = [update_id for update_id in self._dead if update_id > after][:limit]
        return [(update_id, self._updates[update_id].about or b"") for update_id in following]

    def count_dead(self) -> int:
        """Return how many dead letters there are."""
        return len(self._dead)

    def save(self, update: StoredUpdate) -> None:
        """Write an update over what stands there."""
        self.remove([update.update_id])
        self._updates[update.update_id] = update
        for index, key in ((self._places, update.place), (self._reminders, update.remind_us)):
            if key is not None:
                insort(index, (key, update.update_id))
        if update.about is not None:
            insort(self._dead, update.update_id)

    def remove(self, update_ids: Iterable[str]) -> None:
        """Remove updates, if they are there."""
        for update_id in list(update_ids):
            update = self._updates.pop(update_id, None)
            if update is None:
                continue
            for index, key in ((self._places, update.place), (self._reminders, update.remind_us)):
                if key is not None:
                    del index[bisect_left(index, (key, update_id))]
            if update.about is not None:
                del self._dead[bisect_left(self._dead, update_id)]
