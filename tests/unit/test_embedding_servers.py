"""The embedder of OpenAI-compatible servers, against a server that answers as they do, and as they should not."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import OpenAIEmbedder, SentenceTransformerEmbedder, VectorMemoryManager
from ctxqueue.errors import ConfigurationError, EmbedderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = tuple[int, Any]


class Server:
    """Answers with what ``answer(number of the request, texts)`` returns."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.retry_after, self.cut, self.piece = "0", False, 1 << 20
        self.closing = threading.Event()
        self.answer: Callable[[int, list[str]], Answer] = lambda _number, texts: (200, vectors(texts))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                outer.headers.append(dict(self.headers))
                code, answer = outer.answer(len(outer.requests), body["input"])
                packed = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(packed)))
                if code == 429:
                    self.send_header("Retry-After", outer.retry_after)
                if code == 307:
                    self.send_header("Location", outer.url.replace("127.0.0.1", "localhost"))
                self.end_headers()
                if outer.cut:
                    packed = packed[:-1]
                for place in range(0, len(packed), outer.piece):
                    if outer.closing.wait(0.02 if outer.piece < len(packed) else 0):
                        break
                    with contextlib.suppress(OSError):  # the client has gone
                        self.wfile.write(packed[place : place + outer.piece])
                self.close_connection = True

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def vectors(texts: list[str]) -> dict[str, Any]:
    data = [{"index": place, "embedding": [len(text), 1.0, 0.5]} for place, text in enumerate(texts)]
    return {"data": list(reversed(data))}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def embedder(server: Server, **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder("m", **{"base_url": server.url, "api_key": "key", "dimension": 3, "timeout": 5, **options})


def test_texts_go_in_batches_and_come_back_in_order(server: Server) -> None:
    made = embedder(server, batch=2).embed(["a", "bb", "ccc", "dddd", "eeeee"])
    assert made[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert [request["input"] for request in server.requests] == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert server.requests[0]["model"] == "m"
    assert server.headers[0]["Authorization"] == "Bearer key"


def test_it_serves_as_the_embedder_of_memories(server: Server) -> None:
    with VectorMemoryManager(embedder=embedder(server)) as memory:
        memory.remember_many(["one", "three"])
        assert memory.recall("three", limit=1)[0].memory.model == "m:3"
    assert len(server.requests) == 1  # a text is embedded once


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_is_tried_again(server: Server, code: int) -> None:
    server.answer = lambda number, texts: (200, vectors(texts)) if number == 3 else (code, {"error": "busy"})
    assert len(embedder(server).embed(["a"])) == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("retry_after", ["0.01", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "nan"])
def test_a_pause_may_be_asked_for_in_any_form(server: Server, retry_after: str) -> None:
    server.retry_after = retry_after
    server.answer = lambda number, texts: (200, vectors(texts)) if number == 2 else (429, {"error": "busy"})
    assert len(embedder(server).embed(["a"])) == 1


def test_the_key_does_not_follow_to_another_place(server: Server) -> None:
    server.answer = lambda _number, _texts: (307, {})
    with pytest.raises(EmbedderError, match="answered 307"):
        embedder(server).embed(["a"])
    assert len(server.requests) == 1


def test_an_answer_that_is_cut_off_is_asked_for_again(server: Server) -> None:
    server.cut = True

    def mended(number: int, texts: list[str]) -> Answer:
        server.cut = number < 2
        return 200, vectors(texts)

    server.answer = mended
    assert len(embedder(server).embed(["a"])) == 1
    assert len(server.requests) == 2


def test_an_answer_that_only_trickles_takes_no_longer_than_one_that_does_not_come(server: Server) -> None:
    server.piece = 1
    with pytest.raises(EmbedderError, match="TimeoutError"):
        embedder(server, timeout=0.1, retries=0).embed(["a"] * 200)


def test_what_does_not_pass_is_an_error_that_says_what_was_answered(server: Server) -> None:
    server.answer = lambda _number, _texts: (401, {"error": "a wrong key"})
    with pytest.raises(EmbedderError, match=r"answered 401.*a wrong key"):
        embedder(server).embed(["a"])
    assert len(server.requests) == 1
    server.answer = lambda _number, _texts: (500, {"error": "down"})
    with pytest.raises(EmbedderError, match="answered 500"):
        embedder(server, retries=1).embed(["a"])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"nothing": 1},
        {"data": [{"index": 0}]},
        {"data": [{"index": 0, "embedding": ["a"]}]},
        {"data": [{"index": 1, "embedding": [1, 2, 3]}]},
        {"data": 1},
        [1],
        b"no JSON",
    ],
    ids=repr,
)
def test_an_answer_that_is_none_is_an_error_and_nothing_is_stored(server: Server, answer: Any) -> None:
    server.answer = lambda _number, _texts: (200, answer)
    with VectorMemoryManager(embedder=embedder(server, retries=0)) as memory:
        with pytest.raises(EmbedderError):
            memory.remember("x")
        assert len(memory.list()) == 0


def test_a_server_that_is_not_there_is_an_error() -> None:
    away = OpenAIEmbedder("m", base_url="http://127.0.0.1:1/v1", api_key="", dimension=3, retries=0)
    with pytest.raises(EmbedderError, match="does not answer"):
        away.embed(["a"])


def test_without_a_key_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        OpenAIEmbedder()
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    assert "secret-key" not in repr(OpenAIEmbedder())
    for key in ("secret\nkey", "sécret"):
        with pytest.raises(ConfigurationError, match="no header may hold") as refused:
            OpenAIEmbedder(api_key=key)
        assert key not in str(refused.value)
    for wrong in ({"base_url": "file:///etc/passwd"}, {"dimension": 0}, {"batch": 0}):
        with pytest.raises(ConfigurationError):
            OpenAIEmbedder(**wrong)


def test_a_sentence_transformer_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigurationError, match=r"ctxqueue\[sentence-transformers\]"):
        VectorMemoryManager(embedder=SentenceTransformerEmbedder()).remember("x")
