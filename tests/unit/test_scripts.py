"""The Lua scripts: their declared contracts, and that they touch no key that does not come in by KEYS."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from ctxqueue.stores.redis import scripts

LUA = files("ctxqueue.stores.redis") / "lua"
NAMES = sorted(path.name.removesuffix(".lua") for path in LUA.iterdir() if path.name.endswith(".lua"))
INCLUDED = {
    *("clock", "condition", "head", "inbox", "log", "memory", "merging", "note_gone", "recording", "recurring"),
    *("released", "triggers", "waiters"),
}
CALL = re.compile(r"redis\.p?call\(\s*'(\w+)'\s*(?:,\s*([^,)]+))?")


def test_every_file_is_a_script_or_included_by_one() -> None:
    assert {script.name for script in scripts.ALL} | INCLUDED == set(NAMES)
    used = {name for script in scripts.ALL for name in re.findall(r"--@include (\w+)", source_of(script.name))}
    assert used == INCLUDED


def source_of(name: str) -> str:
    return (LUA / f"{name}.lua").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_a_script_opens_with_its_contract(script: scripts.Script) -> None:
    lines = source_of(script.name).splitlines()
    assert re.match(r"-- [A-Z].*\.$", lines[0]), "a sentence says what it does"
    head = [line for line in lines if line.startswith("--")]
    for word in ("KEYS", "ARGV", "Cost"):
        assert any(line.startswith(f"-- {word}  ") for line in head), word
    assert any(line.startswith("-- Returns ") for line in head) or script.name == "settle"


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_every_declared_key_is_used_and_no_other(script: scripts.Script) -> None:
    used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", script.source)}
    assert used == set(range(1, script.keys + 1))


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_never_made_inside_a_script(name: str) -> None:
    for command, key in CALL.findall(source_of(name)):
        if command == "TIME":
            continue
        assert re.fullmatch(r"KEYS\[(\d+|[A-Z_]+ \+ i|i)\]|[a-z_]+", key.strip()), f"{command} on {key}"


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_every_include_is_resolved_and_the_digest_is_the_sources(script: scripts.Script) -> None:
    import hashlib  # noqa: PLC0415

    assert "--@include" not in script.source
    assert script.sha == hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_only_core_commands_of_redis_6_2_are_called(name: str) -> None:
    known = {
        *("TIME", "GET", "SET", "HGET", "HMGET", "HSET", "HDEL", "HLEN", "HEXISTS", "HSTRLEN", "HINCRBY", "HSCAN"),
        *("PEXPIRE", "PERSIST", "PTTL", "PUBLISH", "XREVRANGE"),
        *("EXISTS", "HGETALL", "UNLINK", "XADD", "XLEN", "XRANGE", "XTRIM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"),
        *("LPUSH", "RPUSH", "LPOP", "LTRIM", "LLEN", "LINDEX", "LPOS", "LRANGE", "LREM", "LSET"),
        *("ZADD", "ZREM", "ZCARD", "ZCOUNT", "ZSCORE", "ZMSCORE", "ZRANGE", "ZRANGEBYSCORE", "ZRANK", "ZRANGEBYLEX"),
    }
    assert {command for command, _ in CALL.findall(source_of(name))} <= known


def test_a_contract_that_does_not_match_its_caller_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"load.lua declares keys \['1', '2'\], its caller passes 3"):
        scripts._load("load", keys=3)  # noqa: SLF001 - the check at import
