"""The outer form of encrypted bytes: what tells them from clear ones, whoever can open them.

An envelope is a msgpack value of a code of its own, so that it stands wherever a packed value does, and whoever cannot
open it says so: an earlier version that it is too new, this one that it is encrypted. What could not be opened goes on
as a *refusal*, in the place of its value: whoever never looks at that value is not troubled by it.
"""

from __future__ import annotations

import msgspec
from msgspec.msgpack import Ext

from ctxqueue.errors import DecryptionError

SEALED, REFUSED = 11, 12
"""Codes beside those of `codec.Codes`."""

_EXT_8, _EXT_16, _EXT_32 = 0xC7, 0xC8, 0xC9
_CODE_AT = {_EXT_8: 2, _EXT_16: 3, _EXT_32: 5}
_FIXED = range(0xD4, 0xD9)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Ext).decode


def wrap(sealed: bytes) -> bytes:
    """Return encrypted bytes in their envelope."""
    return _encode(Ext(SEALED, sealed))


def refusal(reason: str) -> bytes:
    """Return what stands in the place of a value that could not be opened."""
    return _encode(Ext(REFUSED, reason.encode()))


def code_of(packed: bytes) -> int:
    """Return SEALED or REFUSED, 0 for anything else."""
    if not packed:
        return 0
    first = packed[0]
    at = _CODE_AT.get(first) or (1 if first in _FIXED else 0)
    code = packed[at] if 0 < at < len(packed) else 0
    return code if code in (SEALED, REFUSED) else 0


def unwrap(packed: bytes) -> bytes:
    """Return what is in an envelope; raises DecryptionError for one that is damaged."""
    try:
        return bytes(_decode(packed).data)
    except msgspec.MsgspecError:
        raise DecryptionError("an encrypted value is damaged: its envelope has another length") from None


def opened(packed: bytes) -> bytes:
    """Return bytes that are in clear; raises DecryptionError for all others."""
    code = code_of(packed)
    if code:
        raise error_of(code, unwrap(packed))
    return packed


def error_of(code: int, content: bytes | memoryview) -> DecryptionError:
    """Return the error for what is not in clear."""
    if code == REFUSED:
        return DecryptionError(bytes(content).decode(errors="replace"))
    return DecryptionError("a value is encrypted, and this process has no keyring: give keyring= with its key")
