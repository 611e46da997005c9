"""Settings: defaults, what a Celery app's configuration says, and what is refused."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ctxqueue import AsyncSharedContextManager, SharedContextManager
from ctxqueue.clock import LONGEST_DURATION, instant, microseconds
from ctxqueue.errors import ConfigurationError, InvalidDuration, InvalidName
from ctxqueue.settings import Settings

DOCUMENTED = {
    "signature_age": 7 * 86_400.0,
    "sweep_interval": 10.0,
    "retention_interval": 3_600.0,
    "lease": 30.0,
    "horizon": 86_400.0,
    "on_divergence": "first",
    "max_value": 1_048_576,
    "max_entries": 10_000,
    "max_bytes": 67_108_864,
    "quota_entries": 0,
    "quota_bytes": 0,
    "history": 20,
    "log_limit": 1_000,
    "idle_life": 86_400.0,
    "needs_timeout": 3_600.0,
    "inbox_limit": 10_000,
    "max_lost_attempts": 5,
    "wait_replicas": 0,
    "audit_failure": "refuse",
    "audit_limit": 1_000_000,
    "audit_age": 90 * 86_400.0,
}
NUMBERS = [name for name in DOCUMENTED if name not in ("on_divergence", "audit_failure")]


def test_the_defaults_are_those_that_are_documented() -> None:
    assert msgspec.structs.asdict(Settings()) == DOCUMENTED


def test_what_the_configuration_says_is_honoured() -> None:
    configuration = {"ctxqueue_lease": 5, "ctxqueue_on_divergence": "error", "lease": 1, "ctxqueue_unknown": 1}
    settings = Settings.read(configuration.get)
    assert (settings.lease, settings.on_divergence) == (5, "error")
    assert settings == Settings(lease=5, on_divergence="error")


@pytest.mark.parametrize("value", [0, -1, "10", None, math.nan, math.inf, True, [1]], ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_a_number_above_zero(name: str, value: Any) -> None:
    if (
        name in ("audit_limit", "history", "quota_bytes", "quota_entries", "wait_replicas")
        and value == 0
        and value is not False
    ):
        assert getattr(Settings.read({f"ctxqueue_{name}": 0}.get), name) == 0  # it turns history off, or the wait
        return
    with pytest.raises(ConfigurationError, match=rf"ctxqueue_{name} is .*: it must be a (whole )?number"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["max_value", "max_entries", "max_bytes", "history", "log_limit", "wait_replicas"])
def test_a_size_is_a_whole_number(name: str) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        Settings.read({f"ctxqueue_{name}": 1.5}.get)


@pytest.mark.parametrize("value", ["", "First", None, 1])
def test_the_way_of_divergence_is_one_of_three(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="it is one of first, apply, error"):
        Settings(on_divergence=value)


@pytest.mark.parametrize("value", ["", "ignore", None, True])
def test_what_follows_without_an_audit_log_is_one_of_two(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"ctxqueue_audit_failure is .*: it is one of refuse, warn"):
        Settings(audit_failure=value)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///w.db", "postgresql://here/w", "redis+cluster://here"])
@pytest.mark.parametrize("manager", [SharedContextManager, AsyncSharedContextManager])
def test_a_store_without_replicas_to_wait_for_says_so(url: str, manager: Any) -> None:
    with pytest.raises(ConfigurationError, match="ctxqueue_wait_replicas is 1, but the store at"):
        manager(url, {"wait_replicas": 1})


def test_an_unknown_setting_of_a_manager() -> None:
    with pytest.raises(ConfigurationError, match="max_entry"):
        SharedContextManager("memory://", {"max_entry": 5})
    with pytest.raises(ConfigurationError, match="ctxqueue_lease is -1"):
        SharedContextManager("memory://", {"lease": -1})


@pytest.mark.parametrize("namespace", ["", "a b", "a:b", "{a}", "-a", "a" * 65, "ä", None, 5, "a\n"])
def test_a_namespace_fits_into_a_hash_tag(namespace: Any) -> None:
    for url in ("redis://127.0.0.1:1/0", "memory://"):
        with pytest.raises(InvalidName, match="namespace"):
            SharedContextManager(url, {"namespace": namespace})


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(1, 1_000_000), (0.5, 500_000), (1e-9, 1), (timedelta(minutes=1), 60_000_000), (LONGEST_DURATION, None)],
)
def test_durations_are_microseconds(duration: float | timedelta, expected: int | None) -> None:
    assert microseconds(duration) == (expected or LONGEST_DURATION * 1_000_000)
    assert microseconds(duration) < 2**53


@pytest.mark.parametrize(
    "duration",
    [0, -1, math.nan, math.inf, -math.inf, LONGEST_DURATION + 1, 10**400, True, "1", None, timedelta.max, timedelta(0)],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_duration(duration: Any) -> None:
    with pytest.raises(InvalidDuration, match="pause is"):
        microseconds(duration, "pause")


def test_instants_are_exact() -> None:
    moment = instant(1_782_907_815_123_457)
    assert (moment.microsecond, moment.utcoffset()) == (123_457, timedelta(0))


@pytest.mark.parametrize("storage", [5, None, b"memory://", ["memory://"]])
@pytest.mark.parametrize("manager", [SharedContextManager, AsyncSharedContextManager])
def test_what_is_no_store_is_refused(manager: Any, storage: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a URL, a ContextStorage or an open store"):
        manager(storage)
