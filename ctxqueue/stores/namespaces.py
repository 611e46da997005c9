"""What a namespace may be called, whatever the store."""

from __future__ import annotations

import re

from ctxqueue.errors import InvalidName

NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def checked_namespace(namespace: str) -> str:
    """Return the namespace; raises InvalidName if it is not one, or cannot be part of a hash tag."""
    if not isinstance(namespace, str) or not NAMESPACE.match(namespace):
        raise InvalidName(f"namespace {namespace!r:.80} must be 1 to 64 letters, digits, '_', '.' or '-'")
    return namespace
