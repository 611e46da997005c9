"""An app whose workers remember, with an embedder that tells where it was made and how many BLAS threads it has."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import redis
from threadpoolctl import threadpool_info

from ctxqueue import StaticEmbedder
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("remembering", settings)

    @ctx.app.task(name="tell", shared=False)
    def tell(what: Any) -> Any:
        return what

    return ctx


def _told(name: str, what: object) -> None:
    with redis.Redis.from_url(json.loads(os.environ["SAMPLE_SETTINGS"])["sample_url"]) as client:
        client.rpush(f"notes:{name}", json.dumps(what))


class TellingEmbedder(StaticEmbedder):
    """The default one, which tells."""

    def __init__(self) -> None:
        super().__init__()
        _told("made", [os.getpid(), os.getppid()])

    def tokens(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the tokens of each text."""
        found = super().tokens(texts)
        _told("threads", [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"])
        return found


def first_and_last(texts: list[str]) -> list[str]:
    """Summarise, by what came first and last."""
    return [texts[0], texts[-1]]


def worth_keeping(content: str, _kind: str, _metadata: Mapping[str, Any]) -> bool:
    """Say no to what is not worth it."""
    return "not worth it" not in content
