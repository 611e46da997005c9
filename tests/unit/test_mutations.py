"""Ten thousand changed headers, ciphertexts, records and policies: each is refused by an error of ours, or reads as it
was; a policy may also say something else that a policy can say.

Hypothesis gives the seeds; one seed makes a batch, which costs no more than one example of its own would.
"""

from __future__ import annotations

import atexit
import json
import random
import shutil
import tempfile
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.app.task import Context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxqueue import codec
from ctxqueue.errors import BadSignature, CtxqueueError
from ctxqueue.flows import stored
from ctxqueue.integration import messages, signatures
from ctxqueue.keyring import Keyring
from ctxqueue.models import Address, Agent, ContextPriority, ContextScope
from ctxqueue.records import Stamp, decode_entry, encode_meta, encode_record
from ctxqueue.rules.policies import ACTIONS, policy_of
from ctxqueue.signing import Signer
from ctxqueue.stores.sealing import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = Callable[[], tuple[bytes, Callable[[bytes], Any]]]

BATCHES, A_BATCH = 8, 160
"""Of each of the eight kinds: 10,240 in all."""
LONG = 10_000 // A_BATCH + 1
"""Batches for ten thousand of each kind."""

KEYRING = Keyring({"older": b"o" * 32, "newest": b"n" * 32}, encrypt="all")
SEALING = Sealing(KEYRING, "default")
SIGNER = Signer({"newest": b"s" * 32}, 3_600.0)
ADDRESS = Address(ContextScope.WORKFLOW, "", "api_key")
VALUE = {"rows": [1, 2.5, "text", None, True], "at": datetime(2026, 7, 1, tzinfo=UTC), "sum": Decimal("1.10")}
REF = stored.UpdateRef("q3", "extractor", "update:1")


def _app() -> Celery:
    app = Celery("mutations", set_as_current=False)
    app.conf.update(ctxqueue_signing_keys={"newest": b"s" * 32}, accept_content=["json"])
    return app


APP = _app()


def changed(packed: bytes, chance: random.Random) -> bytes:
    """Flip, cut, double, drop or overwrite some bytes."""
    at = chance.randrange(len(packed))
    length = chance.randrange(1, 9)
    match chance.randrange(5):
        case 0:
            return bytes((*packed[:at], packed[at] ^ 1 << chance.randrange(8), *packed[at + 1 :]))
        case 1:
            return packed[:at]
        case 2:
            return packed[:at] + packed[at : at + length] + packed[at:]
        case 3:
            return packed[:at] + packed[at + length :]
    return packed[:at] + chance.randbytes(length) + packed[at + length :]


def ciphertexts() -> tuple[bytes, Callable[[bytes], Any]]:
    place = ("entry", "q3", "incarnation", ADDRESS.encode(), True)
    sealed = KEYRING.seal(SEALING.full(place), codec.pack(VALUE))
    return sealed, lambda packed: codec.unpack(SEALING.opened(place, packed))


def _record(value: bytes) -> bytes:
    meta = encode_meta(
        "a", ContextPriority.HIGH, pinned=False, sensitive=True, depends_on=("b",), metadata={"user_id": "u"}
    )
    return encode_record(Stamp(3, b"commit-1"), 7, 10**15, 2 * 10**15, b"extractor_001", meta, value)


def sealed_records() -> tuple[bytes, Callable[[bytes], Any]]:
    place = SEALING.entry_place("q3", "incarnation", ADDRESS.encode(), sensitive=True)
    record = _record(KEYRING.seal(SEALING.full(place), codec.pack(VALUE)))

    def read(changed_record: bytes) -> Any:
        opened = SEALING.record("q3", "incarnation", ADDRESS.encode(), changed_record)
        return decode_entry(ADDRESS, opened, "clear").value

    return record, read


def plain_records() -> tuple[bytes, Callable[[bytes], Any]]:
    """Nothing shows a change of these; what is read is then another value, or an error of ours."""

    def read(changed_record: bytes) -> Any:
        entry = decode_entry(ADDRESS, changed_record, "clear")
        codec.pack(entry.value)
        return VALUE

    return _record(codec.pack(VALUE)), read


def stored_updates() -> tuple[bytes, Callable[[bytes], Any]]:
    packed = stored.packed("q3", Agent("extractor"), {"api_key": VALUE}, "replace", REF, SIGNER)
    return packed, lambda payload: stored.unpacked(REF, payload, SIGNER)[3]["api_key"]


def stored_messages() -> tuple[bytes, Callable[[bytes], Any]]:
    content = {"task": "t", "args": [1], "kwargs": {}, "options": {"headers": {"ctxqueue_run": "r"}}, "value": "v"}
    return messages.packed(
        APP, content, "json"
    ), lambda packed: VALUE if messages.unpacked(packed, APP) == content else 0


HEADERS: dict[str, Any] = {
    "task": "extract",
    "id": "5f8c1a34",
    "retries": 0,
    "ctxqueue_workflow": "q3",
    "ctxqueue_namespace": "default",
    "ctxqueue_run": "0199",
    "ctxqueue_leg": 1,
    "ctxqueue_cause": {"trigger": "t", "keys": ["a", "b"]},
    "ctxqueue_depth": 2,
}
BODY: Any = ([1, {"rows": (1, 2)}], {"what": "text"}, {"callbacks": None, "chain": [{"task": "next"}]})


def headers() -> tuple[bytes, Callable[[bytes], Any]]:
    """All headers in one text, of which each changed line is one header's value; a line that is no JSON is a string."""
    signed = dict(HEADERS)
    signatures.sign(APP, signed, BODY)
    names = sorted(signed)
    packed = "\n".join(json.dumps(signed[name]) for name in names).encode()

    def read(text: bytes) -> Any:
        given = dict(zip(names, map(_as_header, text.decode(errors="replace").split("\n")), strict=False))
        request = Context({**given, "args": BODY[0], "kwargs": BODY[1], **BODY[2]}, called_directly=False)
        error = signatures.judged(APP, request)
        if error is not None:
            raise error
        return VALUE if given == signed else given

    return packed, read


def _as_header(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


POLICY = """\
default = ["read", "write"]
well_known_detectors = false
[[rule]]
name = "interns"
agent_role = "intern"
group = ["g", "h"]
scope = ["private", "workflow"]
key = ["calculation_*", "x"]
deny = ["write", "delete"]
[[rule]]
agent_type = "web_extractor"
key = "*credential*"
allow = ["read"]
sensitive = true
[[sensitive]]
key = "payroll_*"
[[detector]]
name = "tickets"
pattern = 'TCK-[0-9]{12}'
hint = "TCK-"
[[guard]]
key = "finding_*"
max_bytes = 20000
provenance = ["source"]
[[act_as]]
agent = ["web_extractor_*"]
role = "lead"
"""


def _is_policy(tables: Any) -> bool:
    """Return whether it says what a policy can say: whole, known words of the right forms."""

    def texts(given: Any) -> bool:
        return all(map(_is_text, given)) and len(given) > 0 if isinstance(given, list | tuple) else _is_text(given)

    def actions(given: Any) -> bool:
        return given in ([], ()) or (texts(given) and set([given] if isinstance(given, str) else given) <= set(ACTIONS))

    who: dict[str, Any] = {"name": _is_text, "agent_type": texts, "agent_role": texts, "group": texts}
    where: dict[str, Any] = {"key": texts, "scope": lambda given: texts(given) and set(given) <= SCOPES}
    forms: dict[str, dict[str, Any]] = {
        "rule": {**who, **where, "allow": actions, "deny": actions, "sensitive": _is_flag},
        "sensitive": {"name": _is_text, **where},
        "detector": {"name": _is_text, "pattern": _is_text, "hint": lambda given: isinstance(given, str)},
        "guard": {**who, **where, "max_bytes": lambda given: type(given) is int and given > 0, "provenance": bool},
        "act_as": {**who, "agent": texts, "role": texts},
    }
    forms["guard"] |= dict.fromkeys(("schema", "model", "check", "deletes"), bool)
    if not set(tables) <= {"default", "well_known_detectors", *forms}:
        return False
    if not actions(tables.get("default", [])) or not _is_flag(tables.get("well_known_detectors", True)):
        return False
    return all(
        name in forms[table] and forms[table][name](each)
        for table in forms
        for row in tables.get(table, [])
        for name, each in row.items()
    )


SCOPES = {member.value for member in ContextScope}


def _is_text(given: Any) -> bool:
    return isinstance(given, str) and given != ""


def _is_flag(given: Any) -> bool:
    return isinstance(given, bool)


def policies() -> tuple[bytes, Callable[[bytes], Any]]:
    """A file; what is taken for a policy is one."""
    file = Path(tempfile.mkdtemp()) / "policy.toml"
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)

    def read(text: bytes) -> Any:
        file.write_bytes(text)
        policy_of(file)
        return VALUE if _is_policy(tomllib.loads(text.decode())) else text

    return POLICY.encode(), read


WRONG: tuple[Any, ...] = (None, 0, -1, 2.5, True, "", "execute", b"read", (), [], [""], [1], ["read", 1], {}, {"a": 1})
WRONG += ({"read", 2}, frozenset({3}), object(), [[]], [{}], {1: 2}, "(", "\0", "\ud800", 10**30, float("nan"))


def mappings() -> tuple[bytes, Callable[[bytes], Any]]:
    """The same in Python, a part of which is something else, has gone, or has another name: as bytes say, by chance."""

    def read(said: bytes) -> Any:
        chance, tables = random.Random(said), tomllib.loads(POLICY)  # noqa: S311 - reproduced by hypothesis
        if said == b"as it is":
            policy_of(tables)
            return VALUE
        place: Any = tables
        while True:
            at = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[at], dict | list) or not place[at] or chance.random() < 1 / 4:
                break
            place = place[at]
        what = chance.randrange(4)
        if what == 0:
            del place[at]
        elif what == 1 and isinstance(place, dict):
            place[chance.choice([None, 5, "", "keys", ("key",), b"key"])] = place.pop(at)
        else:
            place[at] = chance.choice(WRONG)
        policy_of(tables)
        return VALUE if _is_policy(tables) else tables

    return b"as it is", read


KINDS = (ciphertexts, sealed_records, plain_records, stored_updates, stored_messages, headers, policies, mappings)
"""A place for each other form that is read from outside: how it is made, and how it is read."""


def check(kind: Kind, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproduced by hypothesis
    packed, read = kind()
    assert read(packed) == VALUE
    for _ in range(A_BATCH):
        try:
            found = read(changed(packed, chance))
        except CtxqueueError:
            continue
        assert found == VALUE


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=BATCHES, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**64))
def test_what_was_changed_is_refused_or_reads_as_it_was(kind: Kind, seed: int) -> None:
    check(kind, seed)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=LONG, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**64))
def test_ten_thousand_of_each_kind(kind: Kind, seed: int) -> None:
    check(kind, seed)


def test_what_is_signed_is_accepted_as_it_arrives() -> None:
    signed = dict(HEADERS)
    signatures.sign(APP, signed, BODY)
    arrived = {**signed, "args": [1, {"rows": [1, 2]}], "kwargs": {"what": "text"}, **BODY[2]}
    assert signatures.judged(APP, Context(arrived, called_directly=False)) is None


def test_a_signature_ends_with_its_age_and_with_its_key() -> None:
    content = b"content"
    signature = SIGNER.sign("message", content)
    SIGNER.verify("message", content, signature)
    aged = Signer({"newest": b"s" * 32}, 1e-9)
    begun = "newest 1000000000"
    digest = aged._digest("newest", "message", begun, content)  # noqa: SLF001 - as it was made then
    with pytest.raises(BadSignature, match="ctxqueue_signature_age"):
        aged.verify("message", content, f"{begun} {digest}")
    with pytest.raises(BadSignature, match="does not have"):
        Signer({"other": b"s" * 32}, 60.0).verify("message", content, signature)
    rotated = Signer({"newest": b"s" * 32, "next": b"x" * 32}, 60.0)
    rotated.verify("message", content, signature)
    assert rotated.sign("message", content).startswith("next ")
    for wrong in (("stored update", content), ("message", b"other")):
        with pytest.raises(BadSignature, match="changed"):
            SIGNER.verify(*wrong, signature)
