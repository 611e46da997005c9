"""``celery -A proj ctx migrate``."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ctxqueue import SchemaTooNew, connect
from ctxqueue.stores.sql.schema import REVISIONS, VERSION_TABLE
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def migrated(url: str) -> subprocess.CompletedProcess[str]:
    settings = {"ctxqueue_backend_url": url, "broker_url": "memory://", "result_backend": "cache+memory://"}
    environment = {
        **os.environ,
        "SAMPLE_APP": "tests.integration.apps.parking",
        "SAMPLE_SETTINGS": json.dumps({"sample_url": None, **settings}),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.apps.entry", "ctx", "migrate"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "context.db"


def at_revision(database: Path, revision: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", (revision,))  # noqa: S608 - our own name


def test_tables_are_made_and_made_again_they_stay(database: Path) -> None:
    for _ in range(2):
        told = migrated(f"sqlite:///{database}")
        assert (told.returncode, told.stdout) == (0, f"the tables are at revision {REVISIONS[-1]}\n"), told.stderr
    with connect(f"sqlite:///{database}") as manager:
        manager.workflow("w").open()


def test_newer_tables_are_left_alone(database: Path) -> None:
    migrated(f"sqlite:///{database}")
    at_revision(database, "9999")
    told = migrated(f"sqlite:///{database}")
    assert told.returncode == 1
    assert "revision 9999" in told.stderr
    assert "upgrade ctxqueue" in told.stderr
    with pytest.raises(SchemaTooNew, match="9999"):
        connect(f"sqlite:///{database}")


def test_a_store_that_is_no_database(database: Path) -> None:
    told = migrated("redis://127.0.0.1:1/0")
    assert told.returncode == 2
    assert "nothing to migrate" in told.stderr
    assert not database.exists()
