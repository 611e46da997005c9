"""Keys for values at rest, and what they do: AES-256-GCM, bound to the place where a value stands."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from ctxqueue import envelopes
from ctxqueue.errors import ConfigurationError, DecryptionError

Encrypted = Literal["sensitive", "all"]

KEY_SIZE = 32
FORMAT = 1
MOST_NAME = 32
VALUE_ID_SIZE = 16
NONCE_SIZE = 12
TAG_SIZE = 16

_place = msgspec.msgpack.Encoder().encode


class Keyring:
    """Keys by their ids, the newest last: that one encrypts, all decrypt.

    ``keys``: id -> 32 bytes, or their base64 (`new_key` makes one). ``encrypt``: ``"sensitive"`` entries' values, or
    ``"all"``. What travels or waits in the store and may hold values (stored updates and messages, results of steps and
    runs, memories) is encrypted in any case. ``accept_plaintext`` lets values be read that are in clear where they
    should not be: only for as long as a store is moved to encryption. Raises ConfigurationError.
    """

    def __init__(
        self, keys: Mapping[str, bytes | str], *, encrypt: Encrypted = "sensitive", accept_plaintext: bool = False
    ) -> None:
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only who has a keyring needs it
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "a keyring needs the package cryptography: pip install 'ctxqueue[encryption]'"
            ) from None
        if encrypt not in get_args(Encrypted):
            raise ConfigurationError(f"a keyring encrypts {' or '.join(get_args(Encrypted))}, not {encrypt!r:.40}")
        if not isinstance(accept_plaintext, bool):
            raise ConfigurationError("accept_plaintext of a keyring is True or False")
        checked = checked_keys(keys, "keyring", KEY_SIZE)
        self.encrypt: Encrypted = encrypt
        self.accept_plaintext = accept_plaintext
        self.newest = list(checked)[-1]
        self._failure = InvalidTag
        self._ciphers = {name: AESGCM(derived(key, "values")) for name, key in checked.items()}
        # The oldest: with a new key a repeated call is still recognised as the same, until the old one is dropped.
        self._digest_key = derived(next(iter(checked.values())), "digests")

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._ciphers)}; encrypts {self.encrypt}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The ids, the newest last."""
        return tuple(self._ciphers)

    def seal(self, place: tuple[Any, ...], value: bytes, value_id: bytes = b"") -> bytes:
        """Return a value encrypted for one place, in its envelope; raises DecryptionError for one that is not clear."""
        envelopes.opened(value)
        random = os.urandom(NONCE_SIZE + VALUE_ID_SIZE)
        nonce, value_id = random[:NONCE_SIZE], value_id or random[NONCE_SIZE:]
        name = self.newest.encode()
        sealed = self._ciphers[self.newest].encrypt(nonce, value, _place((*place, value_id)))
        return envelopes.wrap(b"".join((bytes((FORMAT, len(name))), name, value_id, nonce, sealed)))

    def open(self, place: tuple[Any, ...], packed: bytes) -> bytes:
        """Undo `seal`; raises DecryptionError for what is changed, of another place, or of a key that is not here."""
        name, value_id, nonce, sealed = _parts(packed)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise DecryptionError(
                f"a value is encrypted with key {name!r:.80}, and the keyring has {', '.join(self._ciphers)}: add it"
            )
        try:
            return cipher.decrypt(nonce, sealed, _place((*place, value_id)))
        except self._failure:
            raise DecryptionError(
                "an encrypted value does not open: it was changed, is from another place, or its key is another one"
            ) from None

    def is_newest(self, packed: bytes) -> bool:
        """Whether an encrypted value is under the newest key; a damaged one is under none."""
        try:
            return _parts(packed)[0] == self.newest
        except DecryptionError:
            return False

    def renewed(self, place: tuple[Any, ...], packed: bytes) -> bytes:
        """Return an encrypted value under the newest key, with its id; the same bytes if it is so already."""
        name, value_id, _, _ = _parts(packed)
        return packed if name == self.newest else self.seal(place, self.open(place, packed), value_id)

    def digest(self, digest: bytes) -> bytes:
        """Return a digest that says nothing of what it is of to who has no key."""
        return hmac.digest(self._digest_key, digest, "sha256")[:16] if digest else digest


def keyring_of(given: Any) -> Keyring | None:
    """Return the keyring that was given: one, its arguments as a mapping, or ids and keys; raises ConfigurationError.

    ``{"2026-11": "base64..."}``, or ``{"keys": {...}, "encrypt": "all"}``.
    """
    if given is None or isinstance(given, Keyring):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"the keyring is a {type(given).__name__}: give a Keyring, or ids with their keys")
    options: dict[str, Any] = dict(given) if isinstance(given.get("keys"), Mapping) else {"keys": given}
    unknown = options.keys() - {"keys", "encrypt", "accept_plaintext"}
    if unknown:
        raise ConfigurationError(f"the keyring has {', '.join(sorted(map(str, unknown)))}: nobody knows that option")
    return Keyring(**options)


def new_key() -> str:
    """Return a new random key, as base64."""
    return base64.b64encode(os.urandom(KEY_SIZE)).decode()


def checked_keys(keys: Any, what: str, least: int) -> dict[str, bytes]:
    """Return keys by id, in order; raises ConfigurationError. No message shows one."""
    if not isinstance(keys, Mapping) or not keys:
        raise ConfigurationError(f"the {what} has no keys: give ids with their keys, the newest last")
    checked = {}
    for name, key in keys.items():
        if not isinstance(name, str) or not name or not name.isascii() or not name.isprintable():
            raise ConfigurationError(f"a key id of the {what} is {name!r:.40}: give printable ASCII")
        if len(name) > MOST_NAME:
            raise ConfigurationError(f"key id {name!r:.40} of the {what} is over {MOST_NAME}")
        checked[name] = _key(key, f"key {name!r} of the {what}", least)
    return checked


def _key(given: Any, what: str, size: int) -> bytes:
    if isinstance(given, str):
        try:
            given = base64.b64decode(given, altchars=b"-_" if {"-", "_"} & set(given) else None, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationError(f"{what} is no base64: ctxqueue.keyring.new_key() makes one") from None
    if not isinstance(given, bytes) or len(given) != size:
        has = f"{len(given)} bytes" if isinstance(given, bytes) else f"type {type(given).__name__}"
        raise ConfigurationError(f"{what} has {has}: give {size} random bytes; ctxqueue.keyring.new_key() makes them")
    return given


def derived(key: bytes, purpose: str) -> bytes:
    """Return a key for one purpose only."""
    return hmac.digest(key, f"ctxqueue {purpose}".encode(), hashlib.sha256)


def _parts(packed: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Return key id, value id, nonce and ciphertext; raises DecryptionError."""
    content = envelopes.unwrap(packed)
    name_end = 2 + content[1] if len(content) > 1 else 0
    id_end = name_end + VALUE_ID_SIZE
    nonce_end = id_end + NONCE_SIZE
    if not content or content[0] != FORMAT or len(content) < nonce_end + TAG_SIZE:
        raise DecryptionError("an encrypted value is damaged, or of a form that this version does not know")
    name = content[2:name_end].decode(errors="replace")
    return name, content[name_end:id_end], content[id_end:nonce_end], content[nonce_end:]
