"""What several writes of one key, made one after the other, come to as one: put, then update, then delete ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue import codec
from ctxqueue.effects import Write
from ctxqueue.errors import GuardFailed, ValueTooLarge, WriteRefused
from ctxqueue.flows.refusals import untold
from ctxqueue.flows.updating import NEVER
from ctxqueue.flows.writing import Change, described, guarded, written
from ctxqueue.models import BY_RANK, Agent
from ctxqueue.records import Standing, decode_meta
from ctxqueue.rules import merging
from ctxqueue.rules.access import may_read

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
from ctxqueue.flows.writing import Described


class Step(msgspec.Struct, frozen=True):
    """One write that is staged. ``strategy`` is an update's."""

    kind: Literal["put", "create", "update", "delete"]
    change: Change
    strategy: str = ""

    @property
    def expected(self) -> int | None:
        """The version that the caller expects to stand."""
        return 0 if self.kind == "create" else self.change.put.expected_version


def is_merged(steps: list[Step]) -> bool:
    """Whether what comes out depends on what stands there."""
    return steps[0].kind == "update"


def folded(
    terms: Terms, workflow_id: str, agent: Agent, steps: list[Step], standing: Standing | None, *, known: bool
) -> Write:
    """Return the steps as one write over what stands there.

    Unless that is ``known`` it is a guess: where the steps do not go with it the write is one that is refused, which
    brings what does stand there. Raises InvalidInput, GuardFailed.
    """
    first = steps[0]
    try:
        told = known or not is_merged(steps)
        write = _Folding(terms, workflow_id, agent, standing, told=told).all(steps)
    except Exception:  # a user's reducer may raise anything; over a mere guess it says nothing, and the store is asked
        if known or not is_merged(steps):
            raise
        return Write("delete", first.change.encoded, expected_version=NEVER)
    if not is_merged(steps):
        return msgspec.structs.replace(write, expected_version=first.expected)
    wanted = first.expected
    if wanted is not None and wanted != (standing.stamp.version if standing else 0):
        return msgspec.structs.replace(write, expected_version=NEVER)
    return msgspec.structs.replace(
        write,
        expected_version=standing.stamp.version if standing else 0,
        expected_commit=standing.stamp.commit_id if standing else b"",
    )


class _Folding:
    """One address on its way through its steps."""

    def __init__(self, terms: Terms, workflow_id: str, agent: Agent, standing: Standing | None, *, told: bool) -> None:
        self._terms = terms
        self._workflow_id = workflow_id
        self._agent = agent
        self._told = told
        self._value = standing.value if standing else None
        self._meta = standing.meta if standing else b""
        self._what: Described | None = None
        self._ttl_us: int | None = None
        self._keeps_expiry = standing is not None

    def all(self, steps: list[Step]) -> Write:
        for step in steps:
            if step.kind == "delete":
                self._value, self._what = None, None
                self._ttl_us, self._keeps_expiry = None, False
            elif step.kind == "update" and self._value is not None:
                self._merge(step, self._value)
            else:
                self._lay(step.change)
        last = steps[-1].change
        if self._value is None or self._what is None:
            return Write("delete", last.encoded, sensitive=self._terms.policy.mark_of(last.address) != "")
        keep = self._keeps_expiry and self._ttl_us is None
        return written("put", last, self._value, self._what, ttl_us=self._ttl_us, keep_expiry=keep)

    def _lay(self, change: Change) -> None:
        laid, value = guarded(self._terms, self._workflow_id, self._agent, change, change.packed, told=self._told)
        self._what = described(self._terms.policy, self._agent, laid)
        self._value, self._meta = value, self._what.meta
        self._ttl_us, self._keeps_expiry = change.ttl_us, False

    def _merge(self, step: Step, value: bytes) -> None:
        change, existing = step.change, decode_meta(self._meta)
        merge = merging.strategy(step.strategy).merge
        hidden = not may_read(self._terms.policy, self._agent, change.address, sensitive=existing.sensitive)
        try:
            merged = merge(codec.unpack(value), codec.unpack(change.packed), BY_RANK[existing.rank])
            packed = codec.pack(merged)
        except Exception:  # a user's reducer may raise anything, with what it was given
            if hidden:
                raise untold(self._agent, change.address.key) from None
            raise
        if hidden and len(packed) > self._terms.settings.max_value:
            raise untold(self._agent, change.address.key)
        if len(packed) > self._terms.settings.max_value:
            raise ValueTooLarge(
                f"{change.address.key!r} would take {len(packed)} bytes after merging: at most"
                f" {self._terms.settings.max_value}; nothing was written"
            )
        sensitive, place = existing.sensitive, (self._terms, self._workflow_id, self._agent)
        try:
            laid, packed = guarded(*place, change, packed, sensitive=sensitive, told=self._told)
        except (WriteRefused, GuardFailed):
            if hidden:
                raise untold(self._agent, change.address.key) from None
            raise
        self._what = described(self._terms.policy, self._agent, laid, existing, self._meta)
        self._value, self._meta = packed, self._what.meta
        if change.ttl_us is not None:
            self._ttl_us, self._keeps_expiry = change.ttl_us, False
