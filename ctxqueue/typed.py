"""Values as the type that a reader asks for: dataclasses, pydantic models and other classes are stored as dicts."""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.errors import InvalidInput
from ctxqueue.models import Secret

if TYPE_CHECKING:
    from ctxqueue.models import ContextEntry


def as_type(entry: ContextEntry, kind: Any) -> ContextEntry:
    """Return the entry with its value as a ``kind``, inside a `Secret` if it is one; raises InvalidInput.

    The error names where the value differs, never what stands there.
    """
    value = entry.value
    if not isinstance(value, Secret):
        made = _made(entry.key, value, kind)
    elif entry.disclosure == "concealed":
        return entry
    else:
        made = Secret(_made(entry.key, value.reveal(), kind))
    changed = copy(entry)
    changed.__dict__["value"] = made  # where its cached property would have kept it
    return changed


NAMES_A_VALUE = re.compile(r"^(Invalid (?:enum )?value) .*?( - at `[^`]*`)?$", re.DOTALL)


def _made(key: str, value: Any, kind: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    try:
        return msgspec.convert(value, kind) if validate is None else validate(value)
    except msgspec.ValidationError as error:
        # Its text quotes the value where that is none of those allowed.
        raise _unfit(key, kind, NAMES_A_VALUE.sub(r"\1\2", str(error))) from None
    except ValueError as error:
        details = getattr(error, "errors", None)  # a pydantic error's own text shows the values
        if details is None:
            raise
        first = details()[0]
        where = ".".join(map(str, first["loc"])) or "the value"
        raise _unfit(key, kind, f"{where}: {first['type']}") from None
    except TypeError as error:
        raise InvalidInput(f"type is {kind!r:.60}, to which no value can be converted: {error}") from error


def _unfit(key: str, kind: Any, why: str) -> InvalidInput:
    return InvalidInput(f"entry {key!r} does not hold a {getattr(kind, '__name__', kind)}: {why}")
