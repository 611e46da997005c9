"""Many writers of one key and of one workflow: nothing is lost, and each one's order is kept."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING

import pytest

from ctxqueue import connect
from ctxqueue.identity import Attempt, current_attempt
from tests.faults.writers import WORK, WORKFLOW, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle
    from tests.faults.places import Place

PROCESSES = 8
THREADS = 8
BY_THREADS = 40


@pytest.fixture
def wf(place: Place) -> Iterator[WorkflowHandle]:
    with connect(place.url) as manager:
        handle = manager.workflow(WORKFLOW, agent_id="analyst_001")
        handle.open()
        handle.put("united", [], priority="high")
        yield handle


def check_lists(wf: WorkflowHandle, writers: int, each: int) -> None:
    for key in ("appended", "united"):
        items = [(writer, number) for writer, number in wf[key]]
        assert len(items) == writers * each, key
        for writer in range(writers):
            assert [number for who, number in items if who == writer] == list(range(each)), key


@pytest.mark.parametrize("each", [25, pytest.param(200, marks=pytest.mark.long)])
def test_eight_processes(wf: WorkflowHandle, place: Place, each: int) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    processes = [context.Process(target=write, args=(place.url, writer, each, start)) for writer in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(250)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    check_lists(wf, PROCESSES, each)
    expected = {f"{writer}.{number}": number for writer in range(PROCESSES) for number in range(each)}
    merged = wf["merged"]
    assert merged.pop("of") == {str(writer): each - 1 for writer in range(PROCESSES)}
    assert merged == expected
    view = wf.view()
    for writer in range(PROCESSES):
        for number in range(each):
            assert view[f"{writer}.{number:03}"] == [writer, number]
    assert view.revision == PROCESSES * each * len(WORK) + 1
    assert [view.entry(key).version for key in ("appended", "merged", "united")] == [8 * each, 8 * each, 8 * each + 1]


def test_threads_that_share_one_handle(wf: WorkflowHandle) -> None:
    failures: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            for number in range(BY_THREADS):
                for add in WORK.values():
                    add(wf, writer, number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    check_lists(wf, THREADS, BY_THREADS)
    assert len(wf["merged"]) == THREADS * BY_THREADS + 1
    assert len(wf.list(limit=1_000)) == THREADS * BY_THREADS + 3
    assert wf.open().revision == THREADS * BY_THREADS * len(WORK) + 1


def test_one_run_twice_at_the_same_time_takes_effect_once(wf: WorkflowHandle) -> None:
    """The same delivery in two processes, of which neither knows of the other."""
    barrier = threading.Barrier(2)

    def body() -> None:
        token = current_attempt.set(Attempt("the-run", 0, WORKFLOW, 1))
        try:
            for number in range(30):
                barrier.wait()
                wf.update({"appended": [number]}, merge_strategy="append")
                wf.update({"merged": {str(number): number}})
        finally:
            current_attempt.reset(token)

    threads = [threading.Thread(target=body) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wf["appended"] == list(range(30))
    entry = wf.get("merged")
    assert entry is not None
    assert (len(entry.value), wf.open().revision) == (30, 61)


def test_versions_and_revisions_are_given_once(wf: WorkflowHandle) -> None:
    seen: list[tuple[int, int]] = []

    def work() -> None:
        for _ in range(50):
            entry = wf.put("k", 1)
            seen.append((entry.version, entry.revision))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version for version, _ in seen) == list(range(1, 201))
    assert sorted(revision for _, revision in seen) == list(range(2, 202))


def test_a_counter_by_expected_version(wf: WorkflowHandle) -> None:
    """The classic: read, add one, put back if nobody came between."""
    from ctxqueue.errors import VersionConflict  # noqa: PLC0415

    wf.put("n", 0)

    def add() -> None:
        done = 0
        while done < 25:
            entry = wf.get("n")
            assert entry is not None
            try:
                wf.put("n", entry.value + 1, expected_version=entry.version)
            except VersionConflict:
                continue
            done += 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wf["n"] == 100


def test_a_view_is_of_one_revision(wf: WorkflowHandle, place: Place) -> None:
    """While somebody moves a sum between two entries far apart, no view sees it twice or not at all."""
    wf.update({f"k{number:04}": "x" * 3_000 for number in range(200)})
    wf.update({"a": 100, "z": 0})
    stop = threading.Event()

    def move() -> None:
        with connect(place.url) as manager:
            mover = manager.workflow(WORKFLOW, agent_id="mover_1")
            amount = 0
            while not stop.is_set():
                amount = (amount + 1) % 100
                mover.update({"a": 100 - amount, "z": amount})

    thread = threading.Thread(target=move)
    thread.start()
    try:
        sums = {view["a"] + view["z"] for view in (wf.view() for _ in range(50))}
    finally:
        stop.set()
        thread.join()
    assert sums == {100}
