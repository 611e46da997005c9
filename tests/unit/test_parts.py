"""A canvas that is sent more than once, as Celery makes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from kombu.utils.json import dumps

from ctxqueue.integration.parts import IDS, count_of, renamed, tied

app = Celery("parts", set_as_current=False)


@app.task(name="work", shared=False)
def work(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing."""


def one(**given: Any) -> Any:
    return work.s(**given)


CANVASES: dict[str, tuple[Any, int]] = {
    "task": (one, 1),
    "with a callback": (lambda: one().set(link=one(), link_error=[one()]), 1),
    "chain": (lambda: chain(one(), one(), one()), 1),
    "group": (lambda: group(one(), one(), one()), 3),
    "chain that ends in a group": (lambda: chain(one(), group(one(), one())), 2),
    "chord": (lambda: chord([one(), one()], one()), 1),
    "chord in a chain": (lambda: chain(group(one(), one()), one(), one()), 1),
    "chord that ends in a group": (lambda: chord([one()], group(one(), chain(one(), one()))), 2),
    "group of groups": (
        lambda: group(group(one(), one()), chord([one()], one()), chain(one(), group(one(), one()))),
        5,
    ),
}


def stored(make: Any) -> dict[str, Any]:
    """Return a canvas as it comes back from a store."""
    canvas = make().clone()
    canvas.freeze()
    content: dict[str, Any] = json.loads(dumps(dict(canvas)))
    return content


def ids(content: Any) -> set[str]:
    if isinstance(content, list):
        return {name for each in content for name in ids(each)}
    if not isinstance(content, dict):
        return set()
    here = {value for name, value in content.items() if name in IDS and isinstance(value, str)}
    return here | {name for each in content.values() for name in ids(each)}


@pytest.mark.parametrize("name", CANVASES)
def test_each_firing_has_ids_of_its_own_and_each_launch_of_it_the_same(name: str) -> None:
    content = stored(CANVASES[name][0])
    first, again, second = renamed(content, "r1"), renamed(content, "r1"), renamed(content, "r2")
    assert first == again
    assert len(ids(first)) == len(ids(content))
    assert not ids(first) & ids(content)
    assert not ids(first) & ids(second)


@pytest.mark.parametrize("name", CANVASES)
def test_each_part_tells_of_its_end_once(name: str) -> None:
    make, count = CANVASES[name]
    content = stored(make)
    assert count_of(content) == count
    told: list[list[int]] = []

    def ended(parts: list[int]) -> dict[str, Any]:
        told.append(parts)
        return {"task": "ended", "parts": parts}

    tied(content, ended)
    text = json.dumps(content)
    links = [parts for parts in range(count) if text.count(f'{{"task": "ended", "parts": [{parts}]}}') >= 2]
    assert links == list(range(count))  # a link and an errback each
    assert sorted({part for parts in told for part in parts}) == list(range(count))


def test_what_a_task_is_given_stays_as_it_is() -> None:
    given = {
        "task_id": "mine",
        "options": {"task_id": "mine too"},
        "tasks": [{"task": "x", "options": {"task_id": "y"}}],
    }
    content = stored(lambda: chain(one(**given), one()))
    (task, _) = renamed(content, "r1")["kwargs"]["tasks"]
    assert task["kwargs"] == given
