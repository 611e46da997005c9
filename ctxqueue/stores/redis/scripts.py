"""The Lua scripts: read from ``lua/``, with their includes, and held to their contracts when this is imported."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

INCLUDE = re.compile(r"^--@include (\w+)$", re.MULTILINE)
KEYS_LINE = re.compile(r"^-- KEYS  (.+(?:\n--     .+)*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its source, the SHA-1 that the server knows it by, and how many keys it takes."""

    name: str
    source: str
    sha: str
    keys: int


def _source(name: str) -> str:
    text = (files(__package__) / "lua" / f"{name}.lua").read_text()
    return INCLUDE.sub(lambda line: _source(line[1]), text)


def _load(name: str, keys: int) -> Script:
    source = _source(name)
    declared = KEYS_LINE.search(source)
    numbers = re.findall(r"(?<!\S)(\d+) ", declared[1]) if declared else []
    if [int(number) for number in numbers] != list(range(1, keys + 1)):
        raise AssertionError(f"{name}.lua declares keys {numbers}, its caller passes {keys}")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), keys)


OPEN = _load("open", keys=4)
LOAD = _load("load", keys=2)
PAGE = _load("page", keys=3)
SINCE = _load("since", keys=3)
CHANGES = _load("changes", keys=2)
HISTORY = _load("history", keys=3)
HISTORY_ADDRESSES = _load("history_addresses", keys=1)
GONE = _load("gone", keys=1)
FORGET = _load("forget", keys=4)
RESEAL = _load("reseal", keys=3)
GRAPH = _load("graph", keys=2)
MEASURE = _load("measure", keys=7)
CATALOGUE = _load("catalogue", keys=1)
COMMIT = _load("commit", keys=19)
CLAIM = _load("claim", keys=5)
BIND = _load("bind", keys=1)
MARK = _load("mark", keys=1)
CANCEL = _load("cancel", keys=7)
ONCE = _load("once", keys=1)
PROMISE = _load("promise", keys=4)
ARM = _load("arm", keys=6)
RENEW = _load("renew", keys=1)
FINISH = _load("finish", keys=1)
PEEK = _load("peek", keys=1)
BACKLOG = _load("backlog", keys=2)
EXPIRE = _load("expire", keys=12)
RELEASE = _load("release", keys=7)
FAN_OUT = _load("fan_out", keys=8)
LOAD_PARKED = _load("load_parked", keys=1)
REWATCH = _load("rewatch", keys=5)
REST = _load("rest", keys=2)
WATCH_AFAR = _load("watch_afar", keys=4)
REST_AFAR = _load("rest_afar", keys=3)
FORGET_AFAR = _load("forget_afar", keys=3)
FIRE = _load("fire", keys=7)
CLOSE = _load("close", keys=4)
END = _load("end", keys=26)
REGISTER = _load("register", keys=10)
LOAD_TRIGGER = _load("load_trigger", keys=3)
LOAD_TRIGGERS = _load("load_triggers", keys=3)
END_TRIGGER = _load("end_trigger", keys=6)
RECUR = _load("recur", keys=7)
END_RUN = _load("end_run", keys=3)
LOAD_NOTICES = _load("load_notices", keys=2)
ENQUEUE = _load("enqueue", keys=6)
FIND_UPDATE = _load("find_update", keys=5)
DRAW = _load("draw", keys=4)
LET_GO = _load("let_go", keys=2)
BURY = _load("bury", keys=10)
DEAD = _load("dead", keys=2)
REVIVE = _load("revive", keys=8)
UPDATES = _load("updates", keys=2)
REMIND = _load("remind", keys=8)
TAKE = _load("take", keys=2)
SETTLE = _load("settle", keys=2)
AUDIT = _load("audit", keys=1)
LOAD_AUDIT = _load("load_audit", keys=1)
TRIM_AUDIT = _load("trim_audit", keys=1)
NOTE_POLICY = _load("note_policy", keys=2)
STORE_MEMORIES = _load("store_memories", keys=12)
LOAD_MEMORIES = _load("load_memories", keys=4)
GET_MEMORIES = _load("get_memories", keys=2)
AMEND_MEMORY = _load("amend_memory", keys=6)
DROP_MEMORIES = _load("drop_memories", keys=12)
TOUCH_MEMORIES = _load("touch_memories", keys=5)
RETIRABLE = _load("retirable", keys=5)
REGISTER_OWNER = _load("register_owner", keys=1)
OWNERS = _load("owners", keys=1)
DROP_OWNER = _load("drop_owner", keys=1)

ALL = tuple(script for script in tuple(globals().values()) if isinstance(script, Script))
LOADS = tuple(("SCRIPT", "LOAD", script.source) for script in ALL)
"""The commands that bring them to a server."""
