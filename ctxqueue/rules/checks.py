"""What a write guard can ask without a function of the team's own: size, labels, a JSON Schema, a pydantic model.

What a check finds wrong is told by place and kind, never by the value: the message goes to logs and result backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError, WriteRefused
from ctxqueue.models import ContextScope

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.rules.guards import Proposed


def at_most(most: int, proposed: Proposed) -> None:
    """Refuse what is larger."""
    if proposed.size > most:
        raise WriteRefused(f"it would take {proposed.size} bytes: at most {most}")


def checked_size(given: Any) -> int:
    """Return a size; raises ConfigurationError."""
    if type(given) is not int or given < 1:
        raise ConfigurationError(f"max_bytes is {given!r:.60}: give a whole number above 0")
    return given


def labelled(labels: Mapping[str, tuple[str, ...]], proposed: Proposed) -> None:
    """Refuse what does not say where it comes from."""
    for label, patterns in labels.items():
        said = proposed.metadata.get(label)
        if said in (None, ""):
            raise WriteRefused(f"its metadata have no {label!r}, which is to say where it comes from")
        if patterns and not (isinstance(said, str) and any(fnmatchcase(said, pattern) for pattern in patterns)):
            raise WriteRefused(f"the {label!r} in its metadata is none of {', '.join(patterns)}")


def checked_labels(given: Any) -> dict[str, tuple[str, ...]]:
    """Return labels with the patterns that each must match; raises ConfigurationError."""
    if isinstance(given, Mapping):
        labels = {label: texts(f"provenance {label}", patterns) for label, patterns in given.items()}
    else:
        labels = dict.fromkeys(texts("provenance", given), ())
    if not labels or not all(isinstance(label, str) and label for label in labels):
        raise ConfigurationError(f"provenance is {given!r:.60}: give names of metadata")
    return labels


def texts(name: str, given: Any) -> tuple[str, ...]:
    """Return one text or several as several; raises ConfigurationError."""
    found = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(each, str) and each for each in found):
        raise ConfigurationError(f"{name} is {given!r:.60}: give a text, or a list of them")
    return found


def checked_scopes(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return scopes; raises ConfigurationError."""
    names = tuple(member.value for member in ContextScope)
    for scope in given:
        if scope not in names:
            raise ConfigurationError(f"scope is {scope!r:.60}: there are {', '.join(names)}")
    return given


def of_schema(schema: Any) -> Callable[[Proposed], None]:
    """Return a check by a JSON Schema, in which nothing is fetched; raises ConfigurationError.

    Of what JSON has no form for, datetimes and tuples among it, a schema knows no type.
    """
    if not isinstance(schema, Mapping | bool):
        raise ConfigurationError(f"schema is a {type(schema).__name__}: give a JSON Schema as a mapping")
    try:
        jsonschema, known = import_module("jsonschema"), import_module("jsonschema_specifications").REGISTRY
    except ImportError:
        raise ConfigurationError(
            "a guard with a JSON Schema needs jsonschema: pip install 'ctxqueue[schemas]'"
        ) from None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigurationError(f"schema is none: at {error.json_path}: {error.message:.200}") from None
    return partial(_schemed, kind(schema, registry=known))


def _schemed(validator: Any, proposed: Proposed) -> None:
    fault = next(validator.iter_errors(proposed.value), None)
    if fault is not None:
        where = "the value" if proposed.sensitive else fault.json_path
        raise WriteRefused(f"{where} is not as the schema's {fault.validator!r} says")


def of_model(model: Any) -> Callable[[Proposed], None]:
    """Return a check by a pydantic model; raises ConfigurationError."""
    if not callable(_validate_of(model)):
        raise ConfigurationError(f"model is {model!r:.60}: give a pydantic model or TypeAdapter")
    return partial(_modelled, model)


def _validate_of(model: Any) -> Any:
    return getattr(model, "model_validate", None) or getattr(model, "validate_python", None)


def _modelled(model: Any, proposed: Proposed) -> None:
    try:
        _validate_of(model)(proposed.value)
    except ValueError as error:
        told = getattr(error, "errors", None)
        if not callable(told):
            raise  # no word of pydantic's own: a validator that is broken
        raise WriteRefused(_faults(told(include_url=False, include_input=False), proposed)) from None


def described(check: Any) -> Any:
    """Return what tells a check from others, as plain data: what it was made of, or a function's name."""
    if isinstance(check, partial):
        return [described(check.func), *map(described, check.args)]
    schema = getattr(check, "schema", None)
    if isinstance(schema, Mapping | bool):  # of a validator
        return schema
    if isinstance(check, int | str | Mapping):
        return check
    return f"{check.__module__}.{getattr(check, '__qualname__', type(check).__qualname__)}"


def _faults(found: list[Mapping[str, Any]], proposed: Proposed) -> str:
    """Return pydantic's findings in words: where and of what kind, as what a validator says may hold the value."""
    first = [f"{'.'.join(map(str, each['loc'])) or 'the value'} ({each['type']})" for each in found[:5]]
    what = f"{len(found)} faults" if proposed.sensitive else ", ".join(first)
    return f"it is not as the model says: {what}"
