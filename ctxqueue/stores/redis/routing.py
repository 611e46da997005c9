"""Which node of a cluster gets a command, and what its answer asks for: without I/O, for both cluster stores.

A flow of its own kind: it yields steps, and a driver carries them out.

========  ===========================================================================================
Send      commands, by node, each node's as one pipeline; reply: by node, a reply or an error by command
Refresh   ask the cluster who serves which slot; reply: nothing
Pause     let some seconds pass
========  ===========================================================================================

What one command is answered moves nothing else: in a pipeline over many nodes only what was refused is sent again.

- MOVED: its slot has gone to another node; sent there, and the map is read anew.
- ASK: its slot is on the way, and so are its keys; sent after them, once.
- TRYAGAIN: some of its keys are there and some here, or some do not exist at all; sent until the slot has arrived.
  Likewise ASK with a node that the map does not have: one that has just joined, and serves no slot before this one.
- CLUSTERDOWN, no answer, no node for the slot: a master is gone; sent again, with growing pauses, until its replica
  has taken over.
- NOSCRIPT: the node is new here, or was restarted: it is looked at as at first contact, and gets the scripts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from redis import exceptions as rx

from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.checks import AUTH_ERRORS, check_server
from ctxqueue.stores.redis.connection import backoff, check_answers, first_commands

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from ctxqueue.stores.redis.requests import Request

Words = tuple[str | bytes | int, ...]

RESHARDING_SECONDS: Final = 20.0
"""That a call waits for its slot to arrive. Keys that do not exist keep it waiting until the last one has moved."""
RESHARDING_PAUSE: Final = 0.05
MOST_DETOURS: Final = 40
"""In a row. Until the nodes have told each other where a slot is now, they may send a command to and fro."""
QUICK_DETOURS: Final = 3
GONE: Final = (rx.ConnectionError, rx.TimeoutError, rx.ClusterDownError, rx.SlotNotCoveredError)
QUESTIONS: Final[tuple[Words, ...]] = (("INFO", "server"), ("INFO", "memory"))


class Command(NamedTuple):
    """One command, whose node is that of its key."""

    key: str
    words: Words

    @classmethod
    def of(cls, request: Request) -> Command:
        """Return a script's call as a command."""
        return cls(request.keys[0], request.words())


class Send(NamedTuple):
    """Commands to be sent, by node."""

    batches: list[tuple[Any, list[Words]]]


class Refresh(NamedTuple):
    """The map of slots to be read anew."""


class Pause(NamedTuple):
    """Time to pass."""

    seconds: float


Step = Send | Refresh | Pause


class Nodes(Protocol):
    """What is asked of redis-py's cluster client, blocking or not."""

    def get_node_from_key(self, key: str) -> Any:
        """Return the master that serves a key; raises SlotNotCoveredError."""
        ...

    def get_node(self, host: str, port: int) -> Any:
        """Return a node by its address; None if the map does not have it."""
        ...

    def get_primaries(self) -> Sequence[Any]:
        """Return the masters."""
        ...


def routed(nodes: Nodes, commands: Sequence[Command], retries: int) -> Generator[Step, Any, list[Any]]:
    """Have commands carried out, each once for all we know; return their replies.

    Raises a RedisError: the first that sending again does not mend, or the last one when patience ends.
    """
    replies: list[Any] = [None] * len(commands)
    sending = _Sending(nodes, retries)
    pending: Iterable[int] = range(len(commands))
    while True:
        refused: dict[int, tuple[Any, Exception]] = {}
        batches = sending.batches(commands, pending, refused)
        answers = yield Send([(node, words) for node, words, _ in batches])
        for (node, _, ordinals), answered in zip(batches, answers, strict=True):
            for ordinal, answer in zip(ordinals, answered, strict=True):
                if ordinal is None:
                    continue  # what ASKING was answered
                if isinstance(answer, Exception):
                    refused[ordinal] = node, answer
                else:
                    replies[ordinal] = answer
        if not refused:
            return replies
        yield from sending.mended(refused)
        pending = sorted(refused)


class _Sending:
    """One call's way through the cluster, and how much patience is left."""

    def __init__(self, nodes: Nodes, retries: int) -> None:
        self._nodes = nodes
        self._retries = retries
        self._pauses = backoff()
        self._failures = 0
        self._detours = 0
        self._waited = 0.0
        self._directed: dict[int, tuple[Any, bool]] = {}

    def batches(
        self, commands: Sequence[Command], pending: Iterable[int], refused: dict[int, tuple[Any, Exception]]
    ) -> list[tuple[Any, list[Words], list[int | None]]]:
        """Group commands by node: node, what it is sent, and whose answers these will be."""
        found: dict[str, tuple[Any, list[Words], list[int | None]]] = {}
        for ordinal in pending:
            key, words = commands[ordinal]
            node, asking = self._directed.pop(ordinal, (None, False))
            try:
                node = node or self._nodes.get_node_from_key(key)
            except rx.SlotNotCoveredError as error:
                refused[ordinal] = None, error
                continue
            _, sent, ordinals = found.setdefault(node.name, (node, [], []))
            if asking:
                sent.append(("ASKING",))
                ordinals.append(None)
            sent.append(words)
            ordinals.append(ordinal)
        return list(found.values())

    def mended(self, refused: dict[int, tuple[Any, Exception]]) -> Generator[Step, Any, None]:
        """Do what the refusals ask for; raises the one that nothing can be done about."""
        errors = [error for _, error in refused.values()]
        for error in errors:
            if not _is_passing(error):
                raise error
        gone = next((error for error in errors if isinstance(error, GONE)), None)
        unknown = next((error for error in errors if self._leads_nowhere(error)), None)
        waiting = next((error for error in errors if isinstance(error, rx.TryAgainError)), unknown)
        if gone is not None:
            self._failures += 1
            if self._failures > self._retries:
                raise plain(gone)
            yield Pause(self._pauses.compute(self._failures))
        elif waiting is not None:
            if self._waited >= RESHARDING_SECONDS:
                raise rx.TryAgainError(str(waiting)) from waiting
            pause = RESHARDING_PAUSE * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads the callers
            self._waited += pause
            self._detours = 0
            yield Pause(pause)
        else:
            self._detours += 1
            if self._detours > MOST_DETOURS:
                raise errors[0]
            if self._detours > QUICK_DETOURS:
                yield Pause(RESHARDING_PAUSE)
        if gone is not None or unknown is not None or any(isinstance(error, rx.MovedError) for error in errors):
            yield Refresh()
        self._direct(refused)
        lacking = {node.name: node for node, error in refused.values() if isinstance(error, rx.NoScriptError)}
        yield from _equipped(list(lacking.values()))

    def _leads_nowhere(self, error: Exception) -> bool:
        """Whether it is an ASK with a node that the map does not have."""
        if not isinstance(error, rx.AskError) or isinstance(error, rx.MovedError):
            return False
        return self._nodes.get_node(error.host, error.port) is None

    def _direct(self, refused: dict[int, tuple[Any, Exception]]) -> None:
        """Note where the next try goes, if not by the map."""
        for ordinal, (_, error) in refused.items():
            if isinstance(error, rx.AskError):
                node = self._nodes.get_node(error.host, error.port)
                self._directed[ordinal] = node, node is not None and not isinstance(error, rx.MovedError)


def _is_passing(error: Exception) -> bool:
    if isinstance(error, AUTH_ERRORS):  # which redis-py counts among the connection errors
        return False
    return isinstance(error, (*GONE, rx.AskError, rx.TryAgainError, rx.NoScriptError))


def _equipped(nodes: list[Any]) -> Generator[Step, Any, None]:
    """Look at nodes that lack our scripts, and load them; an error of theirs shows at the next try."""
    if nodes:
        yield from checked(nodes)
        yield Send([(node, list(scripts.LOADS)) for node in nodes])


def checked(nodes: list[Any], *, strict: bool = False) -> Generator[Step, Any, None]:
    """Raise StoreUnavailable, UnsafeServer for a node that may not serve us; if strict, RedisError for none at all."""
    answers = yield Send([(node, list(QUESTIONS)) for node in nodes])
    for node, answered in zip(nodes, answers, strict=True):
        error = next((each for each in answered if isinstance(each, Exception)), None)
        if error is None:
            check_server({**answered[0], **answered[1]}, node.name)
        elif strict:
            raise plain(error)


def first_contact(nodes: Nodes, namespace: str, retries: int) -> Generator[Step, Any, None]:
    """Check every master and the namespace; raises RedisError, StoreError, RecordTooNew, ConfigurationError."""
    yield from checked(list(nodes.get_primaries()), strict=True)
    commands = [Command(str(words[1]), words) for words in first_commands(namespace)]
    check_answers((yield from routed(nodes, commands, retries)), namespace)


def plain(error: Exception) -> rx.RedisError:
    """Return what happened as a RedisError: some of the cluster client's errors are none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, rx.RedisError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return rx.ConnectionError(str(error))
