"""Reading a policy: from a TOML file, or the same as a mapping in Python."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from ctxqueue.errors import ConfigurationError
from ctxqueue.models import ContextScope
from ctxqueue.rules.checks import described
from ctxqueue.rules.detectors import WELL_KNOWN, Detector
from ctxqueue.rules.guards import KINDS, Guard, guard_of
from ctxqueue.rules.policy import Action, Grant, Mark, Policy, Rule, Where, Who

ACTIONS = get_args(Action)
WHO = ("agent_type", "agent_role", "group")
TABLES = {
    "rule": ("name", *WHO, "scope", "key", "allow", "deny", "sensitive"),
    "sensitive": ("name", "scope", "key"),
    "act_as": ("name", *WHO, "agent", "role"),
    "detector": ("name", "pattern", "hint"),
    "guard": ("name", *WHO, "scope", "key", *KINDS),
}
TOP = ("default", "well_known_detectors", *TABLES)

SHIPPED = Policy(
    rules=(
        Rule(
            name="web extractors read credentials",
            who=Who(agent_type=("web_extractor",)),
            where=Where(key=("*credential*",)),
            allow=frozenset({"read"}),
            sensitive=True,
        ),
        Rule(
            name="financial calculators read API keys",
            who=Who(agent_type=("financial_calculator",)),
            where=Where(key=("*api_key*",)),
            allow=frozenset({"read"}),
            sensitive=True,
        ),
    ),
    detectors=WELL_KNOWN,
)
"""What holds where no policy is given; ``config/policy.toml`` says the same."""


def policy_of(given: Policy | Mapping[str, Any] | str | Path | None) -> Policy:
    """Return a policy: as it is, from a mapping, from a TOML file; the shipped one for None.

    Raises ConfigurationError, which names the line and the key.
    """
    if given is None:
        return SHIPPED
    if isinstance(given, Policy):
        return given
    if isinstance(given, str | Path):
        return _of_file(Path(given))
    if isinstance(given, Mapping):
        return _Reading("policy", "", given).policy()
    raise ConfigurationError(f"policy is a {type(given).__name__}: give a path, a mapping or a Policy")


def digest_of(policy: Policy) -> str:
    """Return what tells a policy from every other one, however it was given."""
    rules = msgspec.json.encode(policy, enc_hook=described, order="deterministic")
    return hashlib.sha256(rules).hexdigest()[:16]


def _of_file(path: Path) -> Policy:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the policy {path} cannot be read: {error}") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the policy {path} is no TOML: {error}") from error
    return _Reading(str(path), text, tables).policy()


class _Reading:
    """One policy on its way in; ``text`` tells lines, where there is one."""

    def __init__(self, source: str, text: str, tables: Mapping[str, Any]) -> None:
        self._source = source
        self._lines = text.splitlines()
        self._tables = tables
        self._folder = Path(source).parent if text else Path()
        self._place: tuple[str, int] = ("", 0)

    def policy(self) -> Policy:
        for name in self._tables:
            if name not in TOP:
                raise self._error(str(name), f"is not known: there are {', '.join(TOP)}")
        named: dict[str, list[Mapping[str, Any]]] = {name: self._rows(name) for name in TABLES}
        well_known = self._flag(self._tables, "well_known_detectors", default=True)
        default = self._actions(self._tables, "default", frozenset(ACTIONS))
        made = {name: [self._made(name, ordinal, row) for ordinal, row in enumerate(named[name])] for name in TABLES}
        return Policy(
            rules=tuple(made["rule"]),
            marks=tuple(made["sensitive"]),
            grants=tuple(made["act_as"]),
            detectors=(*made["detector"], *(WELL_KNOWN if well_known else ())),
            guards=tuple(made["guard"]),
            default=default,
        )

    def _rows(self, table: str) -> list[Mapping[str, Any]]:
        rows = self._tables.get(table, [])
        if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
            raise self._error(table, f"is to be a list of tables: write [[{table}]]")
        return list(rows)

    def _made(self, table: str, ordinal: int, row: Mapping[str, Any]) -> Any:
        self._place = (table, ordinal)
        for key in row:
            if key not in TABLES[table]:
                raise self._error(str(key), f"is not known in [[{table}]]: there are {', '.join(TABLES[table])}")
        name = row.get("name", f"{table} {ordinal + 1}")
        if not isinstance(name, str) or not name:
            raise self._error("name", f"is {name!r:.60}: give a text")
        who = Who(**{each: self._texts(row, each) for each in WHO if each in row})
        if table == "rule":
            return self._rule(name, who, row)
        if table == "sensitive":
            if "key" not in row and "scope" not in row:
                raise self._error(None, "marks everything: give a key or a scope")
            return Mark(name=name, where=self._where(row))
        if table == "act_as":
            if "agent" not in row:
                raise self._error(None, "names no agent: give agent = [patterns of agent ids]")
            return Grant(name=name, who=who, agent=self._texts(row, "agent"), role=self._texts(row, "role"))
        return self._guard(name, who, row) if table == "guard" else self._detector(name, row)

    def _rule(self, name: str, who: Who, row: Mapping[str, Any]) -> Rule:
        allow, deny = self._actions(row, "allow", frozenset()), self._actions(row, "deny", frozenset())
        if not allow and not deny:
            raise self._error(None, "neither allows nor denies: give allow = [...] or deny = [...]")
        sensitive = self._flag(row, "sensitive", default=False)
        return Rule(name=name, who=who, where=self._where(row), allow=allow, deny=deny, sensitive=sensitive)

    def _detector(self, name: str, row: Mapping[str, Any]) -> Detector:
        pattern, hint = row.get("pattern"), row.get("hint", "")
        if not isinstance(pattern, str) or not pattern:
            raise self._error("pattern", "is to be a regular expression")
        if not isinstance(hint, str):
            raise self._error("hint", f"is {hint!r:.60}: give a text")
        try:
            return Detector(name, pattern.encode(), hint.encode())
        except (ConfigurationError, UnicodeEncodeError) as error:
            raise self._error("pattern", f"is wrong: {error}") from None

    def _guard(self, name: str, who: Who, row: Mapping[str, Any]) -> Guard:
        asked = {kind: row[kind] for kind in KINDS if kind in row}
        for kind, what in asked.items():
            if what is None:
                raise self._error(kind, "is None: leave it out, or say what is asked")
        if isinstance(asked.get("schema"), str):
            asked["schema"] = self._schema(asked["schema"])
        try:
            return guard_of(name, who, self._where(row), **asked)
        except ConfigurationError as error:
            kind, _, what = str(error).partition(" ")
            raise (self._error(kind, what) if kind in asked else self._error(None, f"is wrong: {error}")) from None

    def _schema(self, path: str) -> Any:
        """Return what a file beside the policy says."""
        try:
            return json.loads((self._folder / path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._error("schema", f"names {path!r}, which cannot be read: {error}") from None

    def _where(self, row: Mapping[str, Any]) -> Where:
        scopes = self._texts(row, "scope")
        for scope in scopes:
            if scope not in {member.value for member in ContextScope}:
                raise self._error(
                    "scope", f"is {scope!r:.60}: there are {', '.join(member.value for member in ContextScope)}"
                )
        return Where(scope=scopes, key=self._texts(row, "key"))

    def _texts(self, row: Mapping[str, Any], key: str) -> tuple[str, ...]:
        given = row.get(key, ())
        texts = (given,) if isinstance(given, str) else given
        if not isinstance(texts, list | tuple) or not all(isinstance(each, str) and each for each in texts):
            raise self._error(key, f"is {given!r:.60}: give a text, or a list of them")
        if key in row and not texts:
            raise self._error(key, "is empty: leave it out to mean all")
        return tuple(texts)

    def _actions(self, row: Mapping[str, Any], key: str, absent: frozenset[Action]) -> frozenset[Action]:
        if key not in row:
            return absent
        given = row[key]
        if isinstance(given, list | tuple | set | frozenset) and not given:
            return frozenset()
        actions = self._texts({key: list(given) if isinstance(given, set | frozenset) else given}, key)
        for action in actions:
            if action not in ACTIONS:
                raise self._error(key, f"has {action!r:.60}: there are {', '.join(ACTIONS)}")
        return frozenset(action for action in ACTIONS if action in actions)

    def _flag(self, row: Mapping[str, Any], key: str, *, default: bool) -> bool:
        value = row.get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, f"is {value!r:.60}: give true or false")
        return value

    def _error(self, key: str | None, what: str) -> ConfigurationError:
        table, ordinal = self._place
        place = f"[[{table}]] {ordinal + 1}" if table else "the policy"
        line = self._line(key)
        where = f"{self._source}, line {line}" if line else self._source
        return ConfigurationError(f"{where}: {place}{f': {key}' if key is not None else ''} {what}")

    def _line(self, key: str | None) -> int:
        """Return the line of a key of the table that is being read, or of its head; 0 if it is not to be found."""
        table, ordinal = self._place
        head = re.compile(rf"\s*\[\[\s*[\"']?{re.escape(table)}[\"']?\s*\]\]")
        wanted = re.compile(rf"\s*(?:\[\[?\s*)?[\"']?{re.escape(key or '')}[\"']?\s*(?:\.|=|\])")
        seen, begin = -1, 0 if not table else None
        for number, line in enumerate(self._lines, 1):
            if table and head.match(line):
                seen += 1
                if seen == ordinal:
                    begin = number
                    if key is None:
                        return number
                elif seen > ordinal:
                    break
            elif begin is not None and key is not None and wanted.match(line):
                return number
        return begin or 0
