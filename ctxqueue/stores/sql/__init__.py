"""The SQL store, on SQLite and PostgreSQL: the engine, each effect a transaction."""

from __future__ import annotations

from ctxqueue.stores.sql.upgrading import index_vectors, migrate

__all__ = ["index_vectors", "migrate"]
