"""What is allowed: which names are sensitive, and who may read what is.

The words are matched whole, in ``snake_case``, ``camelCase`` and ``dotted.names`` alike.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ctxqueue.models import ContextScope

if TYPE_CHECKING:
    from ctxqueue.models import Address, Agent

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SENSITIVE_WORD = re.compile(r"\w*passw(?:or)?ds?|secrets?|credentials?|apikeys?")
HARMLESS_AFTER_TOKEN = frozenset({"count", "usage", "budget", "limit"})
BEFORE_SENSITIVE_KEY = frozenset({"api", "access", "private", "signing", "encryption", "ssh"})

SENSITIVE_READERS = {"web_extractor": "credential", "financial_calculator": "api_key"}
"""Agent type -> what a sensitive key must contain for it to read the entry."""


@lru_cache(maxsize=4_096)
def is_sensitive_name(key: str) -> bool:
    """Whether a key's name says that its value is a secret."""
    words = [word.lower() for word in WORD.findall(key)]
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if SENSITIVE_WORD.fullmatch(word):
            return True
        if word == "token" and following not in HARMLESS_AFTER_TOKEN:
            return True
        if word in BEFORE_SENSITIVE_KEY and following in ("key", "keys"):
            return True
    return False


def owns_scope(agent: Agent, address: Address) -> bool:
    """Whether the address lies where the agent may look at all."""
    if address.scope is ContextScope.PRIVATE:
        return agent.is_operator or address.owner == agent.agent_id
    if address.scope is ContextScope.AGENT_GROUP:
        return agent.is_operator or address.owner in agent.groups
    return True


def reads_sensitive(agent: Agent, key: str) -> bool:
    """Whether the agent may read a sensitive entry under this key. The default is no."""
    wanted = SENSITIVE_READERS.get(agent.agent_type)
    return wanted is not None and wanted in key.lower()


def may_read(agent: Agent, address: Address, *, sensitive: bool) -> bool:
    """Whether a path may show an entry, its key, or count it: the one rule that all of them go by.

    The operator sees that a sensitive entry is there, not its value.
    """
    return owns_scope(agent, address) and (not sensitive or agent.is_operator or reads_sensitive(agent, address.key))
