"""Policies: how one is read, what it decides, and what a mistake in it is told by."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxqueue.errors import ConfigurationError
from ctxqueue.models import OPERATOR, Address, Agent, ContextScope
from ctxqueue.rules.access import may_read, sights, verdict, why_detected, why_sensitive
from ctxqueue.rules.detectors import suspected
from ctxqueue.rules.patterns import Patterns
from ctxqueue.rules.policies import SHIPPED, policy_of
from ctxqueue.rules.policy import ACTIONS, Where

ROOT = Path(__file__).parents[2]
INTERN = Agent("helper_1", agent_role="intern", groups=("finance",))


def at(key: str, scope: ContextScope = ContextScope.WORKFLOW, owner: str = "") -> Address:
    return Address(scope, owner, key)


def test_the_file_in_config_says_what_is_shipped() -> None:
    assert policy_of(str(ROOT / "config" / "policy.toml")) == SHIPPED == policy_of(None)


def test_deny_wins_whatever_the_order() -> None:
    allow, deny = {"key": "k", "allow": ["write"]}, {"name": "no", "key": "k", "deny": ["write"]}
    for rules in ([allow, deny], [deny, allow]):
        assert verdict(policy_of({"rule": rules}), INTERN, at("k"), "write", sensitive=False) == (False, "no")


@pytest.mark.parametrize(
    ("who", "meant"),
    [
        ({}, True),
        ({"agent_type": "helper"}, True),
        ({"agent_type": "help*", "agent_role": ["analyst", "intern"], "group": "fin*"}, True),
        ({"agent_type": "other"}, False),
        ({"agent_role": "analyst"}, False),
        ({"group": "legal"}, False),
        ({"scope": "workflow"}, True),
        ({"scope": ["private", "agent_group"]}, False),
        ({"key": "SALARY_*"}, True),
        ({"key": ["x", "*_2026"]}, True),
        ({"key": "salary"}, False),
    ],
    ids=str,
)
def test_whom_and_what_a_rule_is_about(who: dict[str, Any], meant: bool) -> None:  # noqa: FBT001 - a column
    policy = policy_of({"rule": [{**who, "name": "it", "deny": ["read", "delete"]}]})
    for action in ("read", "delete"):
        assert verdict(policy, INTERN, at("salary_2026"), action, sensitive=False).allowed is not meant
    assert verdict(policy, INTERN, at("salary_2026"), "write", sensitive=False).allowed
    assert verdict(policy, OPERATOR, at("salary_2026"), "read", sensitive=True).allowed
    nobody = Agent("helper_1")
    told = verdict(policy, nobody, at("salary_2026"), "read", sensitive=False).allowed
    assert told is not (meant and not {"agent_role", "group"} & who.keys())


def test_what_is_sensitive_is_read_by_a_rule_that_says_so_alone() -> None:
    plain = {"name": "plain", "allow": ["read"]}
    assert not verdict(policy_of({"rule": [plain]}), INTERN, at("k"), "read", sensitive=True).allowed
    opened = policy_of({"rule": [{**plain, "sensitive": True}]})
    assert verdict(opened, INTERN, at("k"), "read", sensitive=True) == (True, "plain")
    assert not verdict(opened, INTERN, at("k", ContextScope.PRIVATE, "other"), "read", sensitive=True).allowed


def test_a_default_that_allows_nothing_leaves_what_rules_allow() -> None:
    policy = policy_of({"default": [], "rule": [{"name": "reports", "key": "report_*", "allow": ["read", "write"]}]})
    assert verdict(policy, INTERN, at("report_1"), "write", sensitive=False).allowed
    assert not verdict(policy, INTERN, at("report_1"), "delete", sensitive=False).allowed
    assert not verdict(policy, INTERN, at("other"), "read", sensitive=False).allowed


def test_a_mark_makes_sensitive_whatever_the_writer_says() -> None:
    policy = policy_of({"sensitive": [{"name": "payroll", "key": "payroll_*"}]})
    assert why_sensitive(policy, at("payroll_7"), given=False, packed=b"") == "rule: payroll"
    assert not verdict(policy, INTERN, at("payroll_7"), "read", sensitive=False).allowed


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"-----BEGIN RSA PRIVATE KEY-----\nMII", "private key"),
        (b"-----BEGIN PRIVATE KEY-----", "private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        (b"id AKIAABCDEFGHIJKLMNOP.", "AWS access key"),
        (b"ghp_" + b"a1" * 18, "GitHub token"),
        (b"glpat-" + b"x" * 20, "GitLab token"),
        (b"xoxb-1234567890-abc", "Slack token"),
        (b"sk-" + b"proj-1" * 5, "model provider's key"),
        (b"AIza" + b"b" * 35, "Google API key"),
        (b"eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "JSON web token"),
        (b"TCK-0042", "tickets"),
        (b"-----BEGIN PUBLIC KEY-----", ""),
        (b"task-list-of-the-whole-quarter-and-more", ""),
        (b"a text about AKIA and ghp_ and sk-", ""),
        (b"TCK-none", ""),
    ],
)
def test_secrets_are_known_by_their_form(value: bytes, found: str) -> None:
    policy = policy_of({"detector": [{"name": "tickets", "pattern": "TCK-[0-9]{4}", "hint": "TCK-"}]})
    assert why_sensitive(policy, at("note"), given=None, packed=value) == (f"detector: {found}" if found else "")
    assert why_sensitive(policy, at("note"), given=False, packed=value) == ""
    suspects = suspected(policy.detectors, b"\0".join([b"nothing", value, b"nothing"]))
    assert why_detected(suspects, value) == (f"detector: {found}" if found else ""), "nor is it missed among others"
    assert not why_detected(suspects, b"nothing")


@pytest.mark.parametrize("hint", ["", "t", "xyz", "TCK-"])
def test_a_detector_finds_by_any_hint(hint: str) -> None:
    policy = policy_of({"detector": [{"name": "found", "pattern": "txyzTCK-", "hint": hint}]})
    for value, found in ((b"a txyzTCK-", "detector: found"), (b"txyzTCK", "")):
        assert why_sensitive(policy, at("note"), given=None, packed=value) == found


def test_another_agent_is_acted_as_by_a_grant_alone() -> None:
    grant = {"agent_type": "helper", "agent": ["web_*"], "role": ["reader"]}
    policy = policy_of({"act_as": [grant]})
    assert policy.may_act_as(INTERN, Agent("web_1"))
    assert policy.may_act_as(INTERN, Agent("web_1", agent_role="reader"))
    for wanted in (Agent("calc_1"), Agent("web_1", agent_role="admin"), Agent("web_1", groups=("legal",)), OPERATOR):
        assert not policy.may_act_as(INTERN, wanted)
    assert not policy.may_act_as(Agent("other_1"), Agent("web_1"))
    assert policy_of({"act_as": [{"agent": ["SYSTEM"]}]}).may_act_as(INTERN, OPERATOR)
    assert not policy_of({"act_as": [{"agent": ["*"]}]}).may_act_as(INTERN, OPERATOR)


HEAD = '# a comment\n[[rule]]\nname = "first"\nallow = ["read"]\n\n'


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("[[rule]\n", 1, "is no TOML"),
        ('default = ["execute"]\n', 1, "default has 'execute'"),
        ("[[rules]]\nallow = []\n", 1, "rules is not known"),
        (HEAD + '[[rule]]\nalow = ["read"]\n', 7, "alow is not known"),
        (HEAD + '[[rule]]\nname = "x"\nallow = ["raed"]\n', 8, "allow has 'raed'"),
        (HEAD + '[[rule]]\nname = "x"\n', 6, "neither allows nor denies"),
        (HEAD + '[[rule]]\nscope = "world"\nallow = ["read"]\n', 7, "scope is 'world'"),
        (HEAD + '[[rule]]\nkey = 5\nallow = ["read"]\n', 7, "key is 5"),
        (HEAD + '[[rule]]\nkey = []\nallow = ["read"]\n', 7, "key is empty"),
        (HEAD + '[[rule]]\nallow = ["read"]\nsensitive = "yes"\n', 8, "sensitive is 'yes'"),
        (HEAD + '[[sensitive]]\nname = "all"\n', 6, "marks everything"),
        (HEAD + '[[act_as]]\nagent_type = "a"\n', 6, "names no agent"),
        (HEAD + '[[detector]]\npattern = "["\n', 7, "is no regular expression"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"line {line}\b") as caught:
        policy_of(str(path))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "given", [5, "nowhere.toml", {"rule": 5}, {"rule": [5]}, {"rule": [{"allow": [[]]}]}, {"well_known_detectors": 0}]
)
def test_what_is_no_policy(given: Any) -> None:
    with pytest.raises(ConfigurationError):
        policy_of(given)


def test_one_name_in_sixty_is_decided_as_the_list_says() -> None:
    lines = (ROOT / "config" / "sensitive-names.txt").read_text().splitlines()
    decided = [line.split() for line in lines if line and not line.startswith("#")]
    assert len({name for name, _ in decided}) == 60
    for name, said in decided:
        assert bool(why_sensitive(SHIPPED, at(name), given=None, packed=b"")) is (said == "sensitive"), name


LETTERS = "aB_.*?[!]é-"
KINDS = st.sets(st.sampled_from(ACTIONS))


@given(
    patterns=st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=6),
    names=st.lists(st.text(LETTERS), max_size=9),
)
def test_many_patterns_match_what_one_of_them_matches(patterns: list[str], names: list[str]) -> None:
    found = Patterns(patterns)
    for name in (*names, *patterns, *(pattern.strip("*?") + "a" for pattern in patterns), ""):
        assert found.match(name) is any(fnmatchcase(name, pattern) for pattern in patterns), name


PLACES = st.fixed_dictionaries(
    {},
    optional={
        "key": st.lists(st.sampled_from(["*", "a*", "*_B", "*c*", "a_b", "A?b", "[ab]*"]), min_size=1, max_size=2),
        "scope": st.sampled_from(["workflow", "private", "agent_group", "global"]),
    },
)
RULES = st.builds(
    lambda where, allow, deny, sensitive: {**where, "allow": allow or {"read"}, "deny": deny, "sensitive": sensitive},
    *(PLACES, KINDS, st.sets(st.sampled_from(ACTIONS), max_size=1), st.booleans()),
)


@given(
    rules=st.lists(RULES, max_size=5),
    marks=st.lists(PLACES.filter(bool), max_size=2),
    default=KINDS,
    keys=st.lists(st.sampled_from(["a_b", "x", "A_b", "abc", "token", "b_c_B"]), min_size=1, max_size=4),
)
def test_what_is_said_of_many_at_once_is_what_the_rules_say_one_by_one(
    rules: list[dict[str, Any]], marks: list[dict[str, Any]], default: set[str], keys: list[str]
) -> None:
    policy = policy_of({"rule": rules, "sensitive": marks, "default": default})
    sight_of = sights(policy, INTERN)
    for key, scope, sensitive in product(keys, ContextScope, (False, True)):
        address = at(key, scope, {"private": "helper_1", "agent_group": "finance"}.get(scope.value, ""))
        marked = any(Where(**_tuples(mark)).includes(address) for mark in marks)
        about = [rule for rule in rules if Where(**_tuples(rule)).includes(address)]
        secret = sensitive or marked
        for action in ACTIONS:
            allowed = any(action in rule["allow"] and (rule["sensitive"] or not secret) for rule in about)
            by_default = action in default and not (secret and action == "read")
            wanted = not any(action in rule["deny"] for rule in about) and (allowed or by_default)
            assert verdict(policy, INTERN, address, action, sensitive=sensitive).allowed is wanted
            if action == "read":
                assert may_read(policy, INTERN, address, sensitive=sensitive) is wanted
                assert sight_of(address)[sensitive] is wanted
                assert (sight_of(address).mark != "") is marked


def _tuples(row: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {name: row[name] for name in ("key", "scope") if name in row}
    return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in found.items()}
