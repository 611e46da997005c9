"""Where the fault tests keep their data, and what they ask of it behind the store's back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import redis
from sqlalchemy import delete, func, select

from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.stores.sql import connecting
from ctxqueue.stores.sql.schema import calls, metadata, outbox, runs
from tests import tables
from tests.contract import keyspace

if TYPE_CHECKING:
    from sqlalchemy import Table


OF_WORKFLOWS = [table for table in metadata.sorted_tables if "workflow_id" in table.c or table is outbox]
"""Those of memories belong to no workflow."""


class Place(ABC):
    """A store's data."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def outbox_is_empty(self) -> bool: ...

    @abstractmethod
    def has_parts(self, workflow_id: str) -> bool:
        """Whether anything is left of a workflow but runs and journals, which end by themselves."""

    @abstractmethod
    def forget_global(self) -> None:
        """Remove the global context."""

    @abstractmethod
    def objections(self) -> list[str]:
        """Return what does not fit together."""

    def close(self) -> None:
        return


class RedisPlace(Place):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redis.Redis.from_url(url)

    def _names(self) -> list[str]:
        return [name.decode() for name in self.client.scan_iter(count=1_000)]

    def outbox_is_empty(self) -> bool:
        return not any(name.endswith("}:out") for name in self._names())

    def has_parts(self, workflow_id: str) -> bool:
        parts = [name.partition("}")[2].split(":") for name in self._names()]
        return any(part[1] == workflow_id and part[2] not in ("r", "c") for part in parts if len(part) > 2)

    def forget_global(self) -> None:
        self.client.delete(*self.client.keys("*global*") or ["none"])

    def objections(self) -> list[str]:
        return keyspace.objections(self.client)

    def close(self) -> None:
        self.client.close()


class TablesPlace(Place):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.engine = connecting.blocking_engine(connecting.checked_url(url))

    def outbox_is_empty(self) -> bool:
        return self._is_empty(outbox)

    def _is_empty(self, table: Table, workflow_id: str | None = None) -> bool:
        statement = select(func.count()).select_from(table)
        if workflow_id is not None:
            statement = statement.where(table.c.workflow_id == workflow_id)
        with self.engine.connect() as connection:
            return not connection.execute(statement).scalar_one()

    def has_parts(self, workflow_id: str) -> bool:
        parts = [table for table in OF_WORKFLOWS if table not in (runs, calls, outbox)]
        return not all(self._is_empty(table, workflow_id) for table in parts)

    def forget_global(self) -> None:
        with self.engine.begin() as connection:
            for table in OF_WORKFLOWS:
                if table is not outbox:
                    connection.execute(delete(table).where(table.c.workflow_id == GLOBAL_WORKFLOW))

    def objections(self) -> list[str]:
        return tables.objections(self.url)

    def close(self) -> None:
        self.engine.dispose()


def place_at(url: str) -> Place:
    return RedisPlace(url) if url.startswith("redis") else TablesPlace(url)
