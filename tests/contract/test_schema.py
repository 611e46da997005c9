"""The tables: how they come to be, who may look at them, and what is said of those of another version."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import column, create_engine, inspect, table, text, update

from ctxqueue import connect
from ctxqueue.errors import ConfigurationError, SchemaTooNew, SchemaTooOld
from ctxqueue.stores.sql import connecting, migrate, schema, upgrading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from ctxqueue.testing import EmbeddedPostgres

UPGRADES = 6


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
    administration = create_engine(connecting.checked_url(server.url()), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    yield server.url("empty")
    with administration.connect() as connection:
        connection.execute(text("DROP DATABASE empty WITH (FORCE)"))
    administration.dispose()


@pytest.fixture
def engine(empty: str) -> Iterator[Engine]:
    engine = connecting.blocking_engine(connecting.checked_url(empty))
    yield engine
    engine.dispose()


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(table(schema.VERSION_TABLE, column("version_num"))).values(version_num=revision))


def test_what_the_migrations_make_is_what_the_schema_says(empty: str, engine: Engine) -> None:
    migrate(empty)
    options = {"include_name": upgrading.is_ours, "version_table": schema.VERSION_TABLE, "compare_type": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    migrated = {table: _described(engine, table) for table in schema.metadata.tables}
    schema.metadata.drop_all(engine)
    schema.metadata.create_all(engine)
    assert {table: _described(engine, table) for table in schema.metadata.tables} == migrated


def _spelt(options: object) -> dict[str, str]:
    assert isinstance(options, dict)
    return {name: str(value) for name, value in options.items()}


def _described(engine: Engine, table: str) -> dict[str, object]:
    inspector = inspect(engine)
    indexes = sorted(
        (str(index["name"]), index["column_names"], _spelt(index.get("dialect_options", {})))
        for index in inspector.get_indexes(table)
    )
    columns = [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)]
    return {"columns": columns, "key": inspector.get_pk_constraint(table)["constrained_columns"], "indexes": indexes}


def test_the_revisions_that_a_process_knows_are_those_of_the_migrations() -> None:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", upgrading.SCRIPTS)
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(walked)) == schema.REVISIONS


def test_the_first_contact_with_an_empty_database_makes_the_tables(empty: str, engine: Engine) -> None:
    with connect(empty) as manager:
        manager.workflow("w").open()
    assert set(inspect(engine).get_table_names()) == {*schema.metadata.tables, schema.VERSION_TABLE}


def test_every_table_has_the_namespace_first_in_its_key_and_our_prefix() -> None:
    for ours in schema.metadata.tables.values():
        assert ours.name.startswith(schema.PREFIX)
        assert next(iter(ours.primary_key)).name == "namespace"


def test_tables_of_the_host_application_are_left_alone(empty: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.execute(text("CREATE TABLE invoices (id INTEGER PRIMARY KEY, paid INTEGER)"))
        connection.execute(text("INSERT INTO invoices VALUES (1, 2)"))
    with connect(empty) as manager:
        manager.workflow("w").open()
    migrate(empty)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM alembic_version")).all() == [("theirs",)]
        assert connection.execute(text("SELECT * FROM invoices")).all() == [(1, 2)]


def test_several_upgrades_at_once_do_no_harm(empty: str, engine: Engine) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(UPGRADES)

    def upgrade() -> None:
        start.wait()
        try:
            migrate(empty)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(UPGRADES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with engine.connect() as connection:
        assert upgrading.revision_of(connection) == schema.REVISIONS[-1]


def test_first_contacts_at_once_do_no_harm(empty: str) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(UPGRADES)

    def open_one(number: int) -> None:
        start.wait()
        try:
            with connect(empty) as manager:
                manager.workflow(f"w{number}").open()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(error)

    threads = [threading.Thread(target=open_one, args=(number,)) for number in range(UPGRADES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_newer_tables_are_left_as_they_are(empty: str, engine: Engine) -> None:
    migrate(empty)
    set_revision(engine, "9999")
    with pytest.raises(SchemaTooNew, match=r"9999.*upgrade ctxqueue"):
        connect(empty)
    with pytest.raises(SchemaTooNew, match="9999"):
        migrate(empty)
    with engine.connect() as connection:
        assert upgrading.revision_of(connection) == "9999"


def test_older_tables_are_an_error_that_says_what_to_run(
    empty: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty)
    set_revision(engine, "0000")
    monkeypatch.setattr(upgrading, "REVISIONS", ("0000", *schema.REVISIONS))
    with pytest.raises(SchemaTooOld, match=r"0000.*ctx migrate.*ctxqueue\.stores\.sql\.migrate\(url\)"):
        connect(empty)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        connect(url)
