"""What it costs that nobody sees what he should not: a policy over a view of 1,000 entries, and encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from ctxqueue import Keyring, connect
from ctxqueue.flows.reading import reader
from ctxqueue.keyring import new_key
from ctxqueue.records import decode_entry
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.contents import MOST_A_COMMIT, SIZE, filled, key, value
from tests.benchmarks.interleaved import Prepared, measure, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from ctxqueue.context import SharedContextManager

ENTRIES = 1_000
ROUNDS = 200
MOST = 1.3
TWENTY: dict[str, Any] = {
    "rule": [
        *(
            {
                "name": f"rule {n}",
                "agent_type": ["analyst", "*"][n % 2],
                "key": [f"*_{n}", f"draft{n}_*"],
                "allow": ["read"],
            }
            for n in range(17)
        ),
        {"name": "keys", "agent_type": "analyst", "key": "api_key_*1", "allow": ["read"], "sensitive": True},
        {"name": "no tens", "key": "k0009?0", "deny": ["read"]},
    ],
    "sensitive": [{"name": "payroll", "key": "payroll_*"}],
}
POLICIES = {"shipped policy": None, "20 rules": TWENTY}
UNASKED = "nothing asked"


def unasked(_policy: object, _agent: object, *, reveal: bool = False) -> Callable[..., object]:
    """Show all, in clear: a view as it would be without any of it."""
    assert not reveal
    return lambda address, record: decode_entry(address, record, "clear")


def test_a_view_costs_little_more_by_a_policy(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    managers = {name: connect("memory://policies", policy=policy) for name, policy in POLICIES.items()}
    wf = managers["20 rules"].workflow("w", agent_id="analyst_001")
    wf.open()
    for first in range(0, ENTRIES, MOST_A_COMMIT):
        numbers = range(first, first + MOST_A_COMMIT)
        wf.update({f"api_key_{n}" if n % 10 == 0 else key(n): value(n) for n in numbers})

    def prepared(manager: SharedContextManager, read: Any = reader, *, anew: bool = False) -> Prepared:
        def before() -> None:
            monkeypatch.setattr("ctxqueue.flows.viewing.reader", read)
            manager.context_filters.register_agent_filter("nobody", lambda entries, _agent: entries)  # all look anew
            if anew:
                manager.terms.policy.__dict__.clear()

        return Prepared(before, manager.workflow("w", agent_id="analyst_001").view)

    timings = measure(
        {
            UNASKED: prepared(managers["20 rules"], unasked),
            **{name: prepared(manager) for name, manager in managers.items()},
            **{f"{name}, keys not met before": prepared(each, anew=True) for name, each in managers.items()},
        },
        rounds=ROUNDS,
    )
    lines = tuple(
        Line(f"a view by {name}, to one without", timing.median / timings[UNASKED].median, MOST)
        for name, timing in timings.items()
        if name != UNASKED
    )
    circumstances = {"entries": f"{ENTRIES:,} of {SIZE} bytes, one in ten sensitive", "store": "in memory"}
    report.add(Section("A policy, and a view of 1,000 entries", circumstances, timings, lines, UNASKED))
    for manager in managers.values():
        manager.close()


def test_what_encryption_costs(report: Report) -> None:
    kinds: dict[str, Keyring | None] = {
        "in clear": None,
        "sensitive ones, of which there are none": Keyring({"k": new_key()}),
        "all encrypted": Keyring({"k": new_key()}, encrypt="all"),
    }
    with EmbeddedServer() as server, redis.Redis.from_url(server.url()) as client:
        managers = {
            name: connect(server.url(), namespace=f"n{number}", keyring=ring)
            for number, (name, ring) in enumerate(kinds.items())
        }
        calls: dict[str, Prepared] = {}
        for name, manager in managers.items():
            wf = filled(manager, ENTRIES, "w")

            def forget(manager: SharedContextManager = manager) -> None:
                manager.terms.views = type(manager.terms.views)()

            calls[f"a first view, {name}"] = Prepared(forget, wf.view)
            calls[f"put, {name}"] = Prepared(lambda: None, lambda wf=wf: wf.put(key(1), value(1)))  # type: ignore[misc]
        with pinned_apart(server.pid) as pinned:
            timings = measure(calls, rounds=ROUNDS)
        circumstances = {
            "entries": f"{ENTRIES:,} of {SIZE} bytes",
            "server": f"valkey, {durability(client)}",
            "cores": pinned,
        }
        plain, _, every = kinds
        lines = (
            Line(
                "a put under a keyring, to one without",
                timings[f"put, {every}"].median / timings[f"put, {plain}"].median,
                1.5,
            ),
            Line(
                "a first view of 1,000 encrypted entries, to one in clear",
                timings[f"a first view, {every}"].median / timings[f"a first view, {plain}"].median,
                2.5,
            ),
        )
        report.add(Section("Encryption", circumstances, timings, lines, f"put, {plain}"))
        for manager in managers.values():
            manager.close()
