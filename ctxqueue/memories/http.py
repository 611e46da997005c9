"""Embeddings of any server with OpenAI's API: in batches, with retries and time limits."""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import time
import urllib.error
import urllib.request
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from ctxqueue.errors import ConfigurationError, EmbedderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers after which it is worth trying again."""
LONGEST_PAUSE: Final = 20.0
CHUNK: Final = 1 << 16
KEY_VARIABLE: Final = "OPENAI_API_KEY"


class OpenAIEmbedder:
    """Asks an OpenAI-compatible endpoint. Thread-safe; no I/O before the first text."""

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dimension: int = 1_536,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | None = None,
        batch: int = 128,
        timeout: float = 30.0,
        retries: int = 3,
        min_score: float = 0.0,
        send_dimension: bool = False,
    ) -> None:
        """Name a model and its dimension; ``api_key`` defaults to the environment's OPENAI_API_KEY.

        A server at another ``base_url`` may want no key: then give ``api_key=""``. ``send_dimension`` asks the server
        for vectors of that dimension. Raises ConfigurationError without a key.
        """
        key = os.environ.get(KEY_VARIABLE) if api_key is None else api_key
        if key is None:
            raise ConfigurationError(
                f"no API key for embeddings by {model!r}: set {KEY_VARIABLE}, or give api_key (empty for a server that"
                " wants none)"
            )
        key = key.strip()  # of a file it often ends with the line
        if not key.isascii() or not key.isprintable():
            raise ConfigurationError("the API key has characters that no header may hold")
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"base_url is {base_url!r}: give an http:// or https:// URL")
        for what, number in (("dimension", dimension), ("batch", batch)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigurationError(f"{what} is {number!r}: give a whole number above 0")
        self.name = model
        self.dimension = dimension
        self.min_score = min_score
        self._url = f"{base_url.rstrip('/')}/embeddings"
        # To another place the key would go along.
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._key = key
        self._batch, self._timeout, self._retries = batch, timeout, retries
        self._send_dimension = send_dimension

    def __repr__(self) -> str:
        return f"<OpenAIEmbedder {self.name!r} at {self._url}>"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text; raises EmbedderError."""
        import numpy as np  # noqa: PLC0415 - whoever only publishes tasks does not need it

        rows: list[Any] = []
        for first in range(0, len(texts), self._batch):
            rows += self._answered(list(texts[first : first + self._batch]))
        try:
            return np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
        except (TypeError, ValueError) as error:
            raise EmbedderError(f"{self!r} answered with something else than vectors: {error}") from error

    def _answered(self, texts: list[str]) -> list[Any]:
        answer = self._asked(texts)
        try:
            vectors = {item["index"]: item["embedding"] for item in answer["data"]}
        except (KeyError, TypeError) as error:
            raise EmbedderError(f"{self!r} answered with something else than embeddings: no {error}") from error
        if len(answer["data"]) != len(texts) or vectors.keys() != set(range(len(texts))):
            raise EmbedderError(f"{self!r} answered with {len(vectors)} vectors for {len(texts)} texts")
        return [vectors[place] for place in range(len(texts))]

    def _asked(self, texts: list[str]) -> Any:
        wanted: dict[str, Any] = {"model": self.name, "input": texts}
        if self._send_dimension:
            wanted["dimensions"] = self.dimension
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(wanted).encode(), headers)  # noqa: S310 - checked above
        for pause in (*_pauses(self._retries), None):
            try:
                ends = time.monotonic() + self._timeout
                with self._opener.open(request, timeout=self._timeout) as reply:
                    return json.loads(_read(reply, ends))
            except urllib.error.HTTPError as error:
                with error:
                    told = error.read(500).decode(errors="replace")
                    asked_pause = error.headers.get("Retry-After", "")
                if error.code not in PASSING or pause is None:
                    raise EmbedderError(f"{self!r} answered {error.code}: {told}") from error
                time.sleep(_asked_for(asked_pause, pause))
            except (OSError, ValueError, http.client.HTTPException) as error:
                if pause is None:
                    raise EmbedderError(f"{self!r} does not answer: {type(error).__name__}: {error}") from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        """Follow none: it is an answer that does not pass."""


def _read(reply: Any, ends: float) -> bytes:
    """Return the whole answer; raises TimeoutError for one that comes too slowly, though some of it always comes."""
    parts = []
    while part := reply.read1(CHUNK):
        parts.append(part)
        if time.monotonic() > ends:
            raise TimeoutError("the answer takes too long")
    answer = b"".join(parts)
    if reply.length:
        raise http.client.IncompleteRead(answer, reply.length)
    return answer


def _asked_for(retry_after: str, pause: float) -> float:
    """Return the seconds that a server asks to be left alone, in figures or until a date; else our own pause."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return pause
        seconds = (until - datetime.now(until.tzinfo)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else pause


def _pauses(retries: int) -> Iterator[float]:
    for tries in range(retries):
        yield min(LONGEST_PAUSE, 0.25 * 2**tries) * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads the callers
