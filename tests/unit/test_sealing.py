"""Every effect that holds bytes is encrypted, or stands here with the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue import envelopes
from ctxqueue.errors import ConfigurationError, DecryptionError
from ctxqueue.keyring import Keyring, keyring_of, new_key
from ctxqueue.stores.sealing import Sealing

INDEX = "an encrypted store has no index: vectors would tell of what they are of"
CLEAR_IN = {
    fx.Draw: "the drain's own id",
    fx.LetGo: "the drain's own id",
    fx.LoadSince: "the id of a commit",
    fx.Expire: "the id of a commit",
    fx.TouchMemories: "the id of a use",
    fx.Reseal: "what it writes is encrypted already",
    fx.Audit: "ids, and who acts from where: never a value",
    fx.NotePolicy: "likewise",
    fx.IndexMemories: INDEX,
    fx.FindCandidates: INDEX,
    fx.Publish: "it goes to the broker, not into the store",
    fx.Commit: "has a way of its own",
    fx.Batch: "of effects that each go their own way",
}
CLEAR_OUT = {
    fx.Commit: "has a way of its own",
    fx.LoadUnindexed: INDEX,
    fx.SampleMemories: INDEX,
    fx.FindCandidates: INDEX,
    fx.LoadDead: "what is known of a dead letter: when, how often, why, how large",
    fx.LoadAudit: "keys, agents and tasks, for the operator: never a value",
    fx.LoadNotices: "keys, revisions and agents, as the log has them",
}
KEYRING = Keyring({"a": b"a" * 32, "b": b"b" * 32})


def holds_bytes(kind: Any, seen: frozenset[Any] = frozenset()) -> bool:
    if kind is bytes:
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
        namespace = {
            **vars(fx),
            **vars(__import__("ctxqueue.identity", fromlist=["Call"])),
            "Tree": Any,
            "Callable": Callable,
        }
        return any(holds_bytes(hint, seen | {kind}) for hint in get_type_hints(kind, localns=namespace).values())
    return any(holds_bytes(part, seen) for part in get_args(kind))


EFFECTS = [
    kind
    for kind in vars(fx).values()
    if isinstance(kind, type) and issubclass(kind, fx.Effect) and kind is not fx.Effect
]


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda kind: kind.__name__)
def test_every_effect_that_takes_bytes_encrypts_them_or_says_why_not(effect: type[fx.Effect[Any]]) -> None:
    way = Sealing(KEYRING, "default").ways.get(effect, (None, None))
    if holds_bytes(effect) and effect not in CLEAR_IN:
        assert way[0] is not None


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda kind: kind.__name__)
def test_every_reply_that_holds_bytes_is_decrypted_or_it_says_why_not(effect: type[fx.Effect[Any]]) -> None:
    (base,) = effect.__orig_bases__  # type: ignore[attr-defined]
    reply = get_args(base)[0]
    if isinstance(reply, str):
        reply = eval(reply, dict(vars(fx)))  # noqa: S307 - a name in the effect's own module
    way = Sealing(KEYRING, "default").ways.get(effect, (None, None))
    if holds_bytes(reply) and effect not in CLEAR_OUT:
        assert way[1] is not None


def test_what_is_sealed_opens_at_its_place_alone_and_keeps_its_id_when_it_is_renewed() -> None:
    sealed = Keyring({"a": b"a" * 32}).seal(("place", 1), b"value")
    assert KEYRING.open(("place", 1), sealed) == b"value"
    renewed = KEYRING.renewed(("place", 1), sealed)
    assert KEYRING.renewed(("place", 1), renewed) == renewed != sealed
    assert renewed[6:22] == sealed[6:22]  # the value's id
    for place in (("place", 2), ("place",), ("place", 1, 1), (b"place", 1)):
        with pytest.raises(DecryptionError, match="does not open"):
            KEYRING.open(place, sealed)


def test_the_same_value_never_looks_the_same_twice() -> None:
    assert len({KEYRING.seal(("place",), b"value") for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "has no keys"),
        ({"a": b"short"}, "5 bytes"),
        ({"a": "no base64!"}, "no base64"),
        ({"a": 5}, "type int"),
        ({"": b"a" * 32}, "printable ASCII"),
        ({"ä": b"a" * 32}, "printable ASCII"),
        ({"a" * 33: b"a" * 32}, "over 32"),
        ("secret", "a str"),
        ({"keys": {"a": b"a" * 32}, "encrypt": "some"}, "'some'"),
        ({"keys": {"a": b"a" * 32}, "verbose": True}, "verbose"),
        ({"keys": {"a": b"a" * 32}, "accept_plaintext": "no"}, "True or False"),
    ],
)
def test_a_wrong_keyring_is_refused_and_the_error_shows_no_key(given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        keyring_of(given)
    assert "no base64!" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_keys_are_bytes_or_base64_and_no_text_of_a_keyring_shows_one() -> None:
    key = new_key()
    keyring = keyring_of({"keys": {"old": b"o" * 32, "new": key}, "encrypt": "all"})
    assert keyring is not None
    assert (keyring.names, keyring.newest, keyring.encrypt) == (("old", "new"), "new", "all")
    assert key not in repr(keyring)
    assert "oooo" not in repr(keyring)


def test_without_cryptography_a_keyring_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ctxqueue\[encryption\]'"):
        Keyring({"a": b"a" * 32})


def test_a_value_that_did_not_open_is_not_written_again_as_one() -> None:
    with pytest.raises(DecryptionError, match="because"):
        KEYRING.seal(("place",), envelopes.refusal("because"))


def test_a_digest_without_a_key_says_nothing_of_its_input() -> None:
    other = Keyring({"a": b"x" * 32})
    assert KEYRING.digest(b"d" * 16) == KEYRING.digest(b"d" * 16) != other.digest(b"d" * 16)
    assert len(KEYRING.digest(b"d" * 16)) == 16
