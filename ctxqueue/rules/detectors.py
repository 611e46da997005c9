"""Values that are secrets whatever they are called: private keys, and tokens whose form is well known.

They are looked for in a value's packed bytes, where each text stands as it is.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import msgspec

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Detector(msgspec.Struct, frozen=True):
    """A form that marks a value as sensitive. ``pattern`` is a regular expression over its texts, in UTF-8.

    ``hint`` is a text that stands in all that match: values without it are not searched further.
    """

    name: str
    pattern: bytes
    hint: bytes = b""
    rarest: int = -1
    """The byte of the hint that fewest values have: to look for one byte takes a tenth of the time."""

    def __post_init__(self) -> None:
        if self.hint:
            msgspec.structs.force_setattr(self, "rarest", max(self.hint, key=_rarity))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # one that will mean something else says nothing sure
                re.compile(self.pattern)
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            raise ConfigurationError(
                f"detector {self.name!r}: {self.pattern!r:.80} is no regular expression: {error}"
            ) from None

    def finds(self, packed: bytes) -> bool:
        """Whether a packed value holds one."""
        return self.hint in packed and re.search(self.pattern, packed) is not None


COMMON = b" etaoinsrhldcumf.,gpwybv0123456789k-_xjqz"
"""What texts are mostly made of, the most frequent first."""


def _rarity(byte: int) -> int:
    place = COMMON.find(byte)
    return place if place >= 0 else len(COMMON)


WELL_KNOWN = (
    Detector("private key", rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----", b"PRIVATE KEY"),
    Detector("AWS access key", rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", b"IA"),
    Detector("GitHub token", rb"\bgh[pousr]_[A-Za-z0-9]{36}", b"gh"),
    Detector("GitHub fine-grained token", rb"\bgithub_pat_[A-Za-z0-9_]{22,}", b"github_pat_"),
    Detector("GitLab token", rb"\bglpat-[A-Za-z0-9_-]{20,}", b"glpat-"),
    Detector("Slack token", rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", b"xox"),
    Detector("model provider's key", rb"\bsk-[A-Za-z0-9_-]{20,}", b"sk-"),
    Detector("Stripe key", rb"\b[rs]k_live_[A-Za-z0-9]{16,}", b"k_live_"),
    Detector("Google API key", rb"\bAIza[A-Za-z0-9_-]{35}", b"AIza"),
    Detector("JSON web token", rb"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}", b".eyJ"),
)
"""Those that every policy has, unless it says otherwise."""


def suspected(detectors: Iterable[Detector], packed: bytes) -> tuple[Detector, ...]:
    """Return those that may find something in what these bytes are made of: nearly always none."""
    return tuple([each for each in detectors if not each.hint or (each.rarest in packed and each.hint in packed)])


def detected(detectors: Iterable[Detector], packed: bytes) -> str:
    """Return the name of the first detector that finds something in a packed value; empty: none does."""
    for detector in detectors:
        # Each value that is written is searched, so nearly all that is no secret must go by without a call.
        if (not detector.hint or detector.rarest in packed) and detector.finds(packed):
            return detector.name
    return ""
