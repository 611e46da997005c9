"""The names of all keys. A workflow and its shard's indexes share a hash tag, so one script can change them together.

``{<namespace>:s<shard>}:<workflow>:<part>`` and, of memories, ``{<namespace>:s<shard>}:mem:<owner>:<part>``; the
docstring of each script says what a part holds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote
from zlib import crc32

SHARDS = 1_024
"""Fixed in a namespace's metadata when it is first used."""

KIND_NUMBERS = {"semantic": 1, "episodic": 2, "procedural": 3}
"""Of memories, as scripts and keys know them."""

PARTS = ("m", "e", "v", "x", "k", "w", "t", "l", "a", "s", "g", "y", "u", "q", "i", "n", "d", "j", "o", "p", "f", "z")


def metadata_key(namespace: str) -> str:
    """Return the hash that holds the namespace's number of shards and layout version."""
    return f"{{{namespace}}}:metadata"


def owners_key(namespace: str) -> str:
    """Return the sorted set that lists whose memories the namespace holds."""
    return f"{{{namespace}}}:memory"


def shard_of(workflow_id: str) -> int:
    """Return a workflow's home."""
    return crc32(workflow_id.encode()) % SHARDS


_QUOTED_CHARACTER = re.compile(r"[^\w.~ -]", re.ASCII)


def _quoted(name: str) -> str:
    """Return ``quote(name, safe=" ")``, at a tenth of its cost: the name of a run is a new one each time."""
    return _QUOTED_CHARACTER.sub(_quoted_character, name)


def _quoted_character(found: re.Match[str]) -> str:
    return quote(found[0], safe="")


class ShardKeys:
    """The keys that the workflows of one shard share."""

    __slots__ = ("all", "audit", "due", "msg", "out", "policy", "tag")

    def __init__(self, namespace: str, shard: int) -> None:
        self.tag = f"{{{namespace}:s{shard:04d}}}"
        self.all = f"{self.tag}:all"
        self.due = f"{self.tag}:due"
        self.out = f"{self.tag}:out"
        self.msg = f"{self.tag}:msg"
        self.audit = f"{self.tag}:audit"
        self.policy = f"{self.tag}:policy"


class WorkflowKeys(ShardKeys):
    """The keys of one workflow."""

    __slots__ = (*PARTS, "of_commit", "prefix", "prefix_of_history", "shard")

    def __init__(self, namespace: str, workflow_id: str) -> None:
        self.shard = shard_of(workflow_id)
        super().__init__(namespace, self.shard)
        # A ':' in an id must not make it look like another id with a part behind it.
        self.prefix = f"{self.tag}:{_quoted(workflow_id)}"
        self.m, self.e, self.v, self.x, self.k, self.w, self.t = (f"{self.prefix}:{part}" for part in PARTS[:7])
        self.l, self.a, self.s, self.g, self.y = (f"{self.prefix}:{part}" for part in PARTS[7:12])
        self.u, self.q, self.i, self.n, self.d = (f"{self.prefix}:{part}" for part in PARTS[12:17])
        self.j, self.o, self.p, self.f, self.z = (f"{self.prefix}:{part}" for part in PARTS[17:])
        self.prefix_of_history = f"{self.prefix}:h:"
        self.of_commit = (
            *(self.m, self.e, self.v, self.x, self.k, self.w, self.t, self.due, self.out, self.msg),
            *(self.l, self.a, self.s, self.g, self.y, self.audit, self.z),
        )
        """Those of each commit, in the order of its script."""

    def history(self, address: str) -> str:
        """Return the key of the values kept of an address."""
        return self.prefix_of_history + address

    def lane(self, lane_id: str) -> str:
        """Return the key of a lane's newest call."""
        return f"{self.prefix}:c:{_quoted(lane_id)}"

    @property
    def task(self) -> str:
        """The key of what is known of a Celery task, where its id stands in the workflow's place."""
        return f"{self.prefix}:b"

    def run(self, run_id: str) -> str:
        """Return the key of a run's record and journal."""
        return f"{self.prefix}:r:{_quoted(run_id)}"


class OwnerKeys(ShardKeys):
    """The keys of one owner's memories."""

    __slots__ = ("aged", "d", "e", "l", "m", "n", "prefix", "used", "x")

    def __init__(self, namespace: str, owner: str) -> None:
        super().__init__(namespace, shard_of(owner))
        self.prefix = f"{self.tag}:mem:{owner}"
        self.m, self.e, self.n, self.l, self.d, self.x = (f"{self.prefix}:{part}" for part in "menldx")
        self.aged = tuple(f"{self.prefix}:a{kind}" for kind in KIND_NUMBERS.values())
        self.used = tuple(f"{self.prefix}:u{kind}" for kind in KIND_NUMBERS.values())

    @property
    def every(self) -> tuple[str, ...]:
        """All of them, in the order of the scripts that need all."""
        return (self.m, self.e, self.n, self.l, self.d, self.x, *self.aged, *self.used)

    def of_kind(self, kind: str) -> tuple[str, str]:
        """Return the indexes of one kind."""
        place = KIND_NUMBERS[kind] - 1
        return self.aged[place], self.used[place]


@lru_cache(maxsize=4_096)
def owner_keys(namespace: str, owner: str) -> OwnerKeys:
    """Return the keys of an owner, named by its digest."""
    return OwnerKeys(namespace, owner)


@lru_cache(maxsize=4_096)
def workflow_keys(namespace: str, workflow_id: str) -> WorkflowKeys:
    """Return the keys of a workflow."""
    return WorkflowKeys(namespace, workflow_id)


@lru_cache(maxsize=2 * SHARDS)
def shard_keys(namespace: str, shard: int) -> ShardKeys:
    """Return the keys of a shard."""
    return ShardKeys(namespace, shard)
