"""No path hands out a sensitive value that is not on record: each of READ_PATHS, by both faces."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.models import ContextEntry, Secret
from tests.property.sights import SIGHTINGS, armed
from tests.property.worlds import AGENTS, KEYS, Event, Place, World

if TYPE_CHECKING:
    from ctxqueue.audited import AuditRecord

LOOKER = AGENTS[0]
POLICY: Any = {"rule": [{"agent_type": LOOKER.agent_type, "allow": ["read"], "sensitive": True}]}


def events() -> list[Event]:
    """Each key in each scope, written twice, all of it sensitive."""
    scopes = (("workflow", ""), ("global", ""), ("private", LOOKER.agent_id), ("agent_group", "g"))
    places = [Place(scope, owner, key) for scope, owner in scopes for key in KEYS]
    return [
        Event(number, LOOKER, place, given=True, token=False, depends_on=(), deletes=False)
        for number, place in enumerate([*places, *places])
    ]


def recorded(records: list[AuditRecord]) -> set[tuple[str, str, str, int]]:
    """Return what was read, by the records."""
    read = [record for record in records if record.action in ("read", "revealed")]
    return {(entry.scope.value, entry.owner, entry.key, entry.version) for record in read for entry in record.entries}


def whole_log(world: World) -> list[AuditRecord]:
    page = world.manager.audit(limit=1_000)
    found = list(page)
    while page.next_cursor:
        page = world.manager.audit(limit=1_000, cursor=page.next_cursor)
        found += page
    return found


@pytest.mark.parametrize("face", ["blocking", "awaited"])
def test_whatever_path_hands_out_a_sensitive_value_has_recorded_it(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[ContextEntry] = []
    make = Secret.__init__

    def made(secret: Secret, *value: Any, entry: ContextEntry | None = None) -> None:
        if entry is not None:
            taken.append(entry)
        make(secret, *value, entry=entry)

    monkeypatch.setattr(Secret, "__init__", made)
    unrecorded, seen = {}, 0
    with asyncio.Runner() if face == "awaited" else nullcontext() as loop:
        world = World.of(f"memory://{uuid.uuid4()}", POLICY, LOOKER, loop)
        armed(world)
        world.happen(events())
        for look in dict.fromkeys(sighting.look for sighting in SIGHTINGS):
            before = len(whole_log(world))
            taken.clear()
            look(world)
            handed = {(each.scope.value, each.owner, each.key, each.version) for each in taken}
            missing = handed - recorded(whole_log(world)[before:])
            seen += bool(handed)
            if missing:
                unrecorded[look.__name__] = missing
        world.close()
    assert unrecorded == {}
    assert seen > len(KEYS)
