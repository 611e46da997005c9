"""Signatures: what shows that a message, or an update that waits, was made by a process that has the key."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING

from ctxqueue.errors import BadSignature
from ctxqueue.keyring import KEY_SIZE, checked_keys, derived

if TYPE_CHECKING:
    from collections.abc import Mapping


def key_of(signature: str) -> str:
    """Return the id of the key that a signature says it was made with; empty for what is none."""
    return signature.rpartition(" ")[0].rpartition(" ")[0]


AHEAD = 300.0
"""Seconds that another machine's clock may be ahead."""


class Signer:
    """Signs with the newest key, the last one; verifies with all. ``age``: how old a message's signature may be."""

    def __init__(self, keys: Mapping[str, bytes | str], age: float) -> None:
        """Raise ConfigurationError."""
        self._keys = {
            name: derived(key, "signatures") for name, key in checked_keys(keys, "signing keys", KEY_SIZE).items()
        }
        self._newest = list(self._keys)[-1]
        self._age = age

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of its keys, the newest last."""
        return tuple(self._keys)

    def __repr__(self) -> str:
        return f"<Signer {', '.join(self._keys)}>"

    def sign(self, purpose: str, content: bytes) -> str:
        """Return a signature: key id, seconds since 1970, digest."""
        begun = f"{self._newest} {int(time.time())}"
        return f"{begun} {self._digest(self._newest, purpose, begun, content)}"

    def verify(self, purpose: str, content: bytes, signature: object, *, aged: bool = True) -> None:
        """Raise BadSignature unless it is one of this content; ``aged``: and is not too old."""
        if not signature:
            raise BadSignature(f"a {purpose} is not signed, and this app has signing keys: it is not carried out")
        begun = signature.rpartition(" ")[0] if isinstance(signature, str) else ""
        name, _, rest = begun.rpartition(" ")
        if name not in self._keys:
            raise BadSignature(f"a {purpose} is signed by key {name!r:.40}, which this app does not have")
        digest = self._digest(name, purpose, f"{name} {rest}", content)
        if not hmac.compare_digest(digest.encode(), str(signature).rpartition(" ")[2].encode()):
            raise BadSignature(f"a {purpose} was changed since it was signed, or is forged: it is not carried out")
        age = time.time() - int(rest)
        if aged and not -AHEAD <= age <= self._age:
            raise BadSignature(
                f"a {purpose} was signed {age:.0f} s ago, more than ctxqueue_signature_age ({self._age:.0f} s), or in"
                " the future"
            )

    def _digest(self, name: str, purpose: str, begun: str, content: bytes) -> str:
        signed = b"\0".join((purpose.encode(), begun.encode(errors="replace"), content))
        return hmac.digest(self._keys[name], signed, "sha256").hex()
