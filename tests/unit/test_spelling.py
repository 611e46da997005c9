"""The search for a secret finds it in whatever spelling."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import zlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.spelling import places

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = 'canary-7f3c-do-not-show"ü'


@pytest.mark.parametrize(
    "write",
    [
        str.encode,
        lambda text: json.dumps({"a": [text]}).encode(),
        lambda text: json.dumps({"a": text}, ensure_ascii=False).encode(),
        lambda text: json.dumps({"body": json.dumps([text])}).encode(),
        lambda text: repr((text,)).encode(),
        lambda text: msgspec.msgpack.encode({"a": text}),
        lambda text: pickle.dumps([text]),
        lambda text: base64.b64encode(b"ab" + json.dumps([text]).encode() + b"more"),
        lambda text: base64.urlsafe_b64encode(text.encode()),
        lambda text: text.encode().hex().encode(),
        lambda text: b"before" + zlib.compress(b"much more " * 50 + text.encode()) + b"after",
        lambda text: gzip.compress(text.encode()),
        lambda text: base64.b64encode(zlib.compress(json.dumps({"a": text}).encode())),
    ],
)
def test_it_is_found(write: Callable[[str], bytes]) -> None:
    assert places(SECRET, b"\x00head " + write(SECRET) + b" tail\xff")
    assert places(SECRET, b"\x00head " + write(SECRET.replace("7f3c", "0000")) + b" tail\xff") == []
