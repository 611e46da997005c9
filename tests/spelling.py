"""Whether something stands in bytes, however it was written down there: escaped, in base 64 or hex, or compressed."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

DEPTH = 3
"""Of what was compressed and then put into base 64, and the like."""
COMPRESSED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
IN_BASE_64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
PLAIN = re.compile(r"[A-Za-z0-9-]+")
SHIFTS = 3
"""Within base 64: a text looks otherwise by where it begins."""


def forms(secret: str) -> list[bytes]:
    """Return how its longest plain part looks, which no escape changes: as it is, in UTF-16, hex and base 64."""
    core = max(PLAIN.findall(secret), key=len)
    plain = [core.encode(), core.encode("utf-16-le")]
    shifted = [base64.b64encode(b"x" * shift + text)[4:-4] for text in plain for shift in range(SHIFTS)]
    return [*plain, *shifted, *(binascii.hexlify(text) for text in plain)]


def places(secret: str, found: bytes) -> list[bytes]:
    """Return where it stands, each place with what is around it."""
    return _places(forms(secret), found, DEPTH)


def _places(wanted: list[bytes], found: bytes, depth: int) -> list[bytes]:
    there = [found[max(0, at - 200) : at + 200] for form in wanted if (at := found.find(form)) >= 0]
    if there or not depth:
        return there
    for inside in (*_unpacked(found), *_decoded(found)):
        there += _places(wanted, inside, depth - 1)
    return there


def _unpacked(found: bytes) -> list[bytes]:
    """Return what comes of every place at which something compressed may begin."""
    unpacked = []
    for match in COMPRESSED.finditer(found):
        try:
            unpacked.append(zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(found[match.start() :]))
        except zlib.error:
            continue
    return [each for each in unpacked if each]


def _decoded(found: bytes) -> list[bytes]:
    """Return what long runs of its letters say in base 64: something compressed shows no letter of what it holds."""
    decoded = []
    for match in IN_BASE_64.finditer(found):
        run = match[0].replace(b"-", b"+").replace(b"_", b"/")
        decoded.append(base64.b64decode(run[: len(run) // 4 * 4]))
    return [each for each in decoded if COMPRESSED.search(each)]
