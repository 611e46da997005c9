"""How values become bytes: one versioned msgpack codec for every store.

JSON's values, and beyond them, kept as what they are: integers of any size, bytes, tuples, sets, frozensets,
datetime, date, Decimal, UUID, numpy arrays. Dataclasses, pydantic models and other types come back as themselves
if they were given to `register`, else as dicts; an object with ``to_dict()`` is stored as what that returns.
An enum is stored as its value. NaN and the infinities are refused, as JSON has no form for them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from msgspec.msgpack import Ext

from ctxqueue import envelopes
from ctxqueue.errors import NotSerializable, RecordDamaged, RecordTooNew

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

CODEC_VERSION = 1
"""Written into every record. A reader meets a higher one with RecordTooNew and leaves the record alone."""

MAX_DEPTH = 100
INT64 = range(-(2**63), 2**64)

_encoder = msgspec.msgpack.Encoder()


class Codes:
    """Extension codes of the format. A code is never reused for something else."""

    # 11 and 12 are those of `envelopes`.
    INTEGER, DECIMAL, UUID, DATE, DATETIME, TUPLE, SET, FROZENSET, OBJECT, ARRAY = range(1, 11)


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """How objects of one type are taken apart and put together."""

    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    merge: Callable[[Any, Any], Any] | None


_by_type: dict[type, Registered] = {}
_by_name: dict[str, Registered] = {}


def register(
    kind: type,
    *,
    name: str | None = None,
    dump: Callable[[Any], Any] | None = None,
    load: Callable[[Any], Any] | None = None,
    merge: Callable[[Any, Any], Any] | None = None,
) -> type:
    """Let objects of ``kind`` come back as themselves. Usable as a class decorator.

    ``name`` goes into the records and must stay the same for ever (default: the class's qualified name). For
    dataclasses and pydantic models ``dump`` and ``load`` have defaults; other types need both. ``merge(existing,
    new)``, or a method of that name, is what ``smart_merge`` uses.
    """
    dump = dump or _fields
    if load is None:
        load = getattr(kind, "model_validate", None) or (lambda fields: kind(**fields))
    if merge is None:
        merge = getattr(kind, "merge", None)
    entry = Registered(name or _name_of(kind), dump, load, merge)
    _by_type[kind] = _by_name[entry.name] = entry
    return kind


def registered_types() -> AbstractSet[type]:
    """Return the types that were given to `register`."""
    return _by_type.keys()


def merge_of(value: object) -> Callable[[Any, Any], Any] | None:
    """Return the merge function of a registered type's object, if it has one."""
    entry = _by_type.get(type(value))
    return entry.merge if entry else None


def pack(value: Any) -> bytes:
    """Return the packed form; raises NotSerializable, which names the path to the part at fault."""
    try:
        if _is_plain(value, 0):
            try:
                return _encoder.encode(value)
            except OverflowError:  # an integer that is too large for it
                pass
        return _encoder.encode(_plain(value, 0))
    except _At as fault:
        raise NotSerializable(f"value{''.join(reversed(fault.path))} {fault.reason}") from None
    except UnicodeEncodeError as error:
        raise NotSerializable(f"value holds text that is not valid Unicode: {error.reason}") from error


def unpack(packed: bytes | memoryview) -> Any:
    """Undo `pack`; raises RecordTooNew for a form that this version does not know, RecordDamaged, DecryptionError."""
    try:
        return _decoder.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"a stored value is damaged: {type(error).__name__}") from error
    except RecursionError:
        raise RecordDamaged("a stored value is damaged: it is nested too deeply") from None


class _At(Exception):
    """A fault on its way out, collecting the path to it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []


FIELD: Final = re.compile(r"[A-Za-z_]{1,40}|[0-9]{1,3}", re.ASCII)

_ATOMS = frozenset({str, bool, type(None), bytes, int})


def _is_plain(value: Any, depth: int) -> bool:
    """Whether msgpack holds the value as it is, unless an integer is too large: nearly all are so, and need no copy."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return math.isfinite(value)
    if depth > MAX_DEPTH:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (type(item) in _ATOMS or _is_plain(item, depth + 1)):
                return False
        return True
    return kind is list and all(type(item) in _ATOMS or _is_plain(item, depth + 1) for item in value)


def _plain(value: Any, depth: int) -> Any:
    """Return what msgpack can hold; the value itself where nothing in it is special."""
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is bytes:
        return value
    if kind is int:
        return value if value in INT64 else _integer(value)
    if kind is float:
        if not math.isfinite(value):
            raise _At(f"is {value}: only finite numbers can be stored")
        return value
    if depth > MAX_DEPTH:
        raise _At(f"is nested deeper than {MAX_DEPTH} levels, or holds itself")
    if kind is dict:
        plain = {_key(key): _child(item, f"[{_shown(key)}]", depth) for key, item in value.items()}
        if len(plain) < len(value):
            raise _At("has keys that are stored alike, as an enum's member and its value are")
        return plain
    if kind is list:
        return [_child(item, f"[{index}]", depth) for index, item in enumerate(value)]
    return _special(value, kind, depth)


def _child(item: Any, step: str, depth: int) -> Any:
    try:
        return _plain(item, depth + 1)
    except _At as fault:
        fault.path.append(step)
        raise


def _key(key: object) -> str | int:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool) and key in INT64:
        return int(key)
    raise _At(f"has a key of type {type(key).__name__}: keys are strings or integers")


def _shown(key: object) -> str:
    """Return a key as an error names it: what does not look like the name of a field may be part of a secret."""
    return repr(key) if FIELD.fullmatch(str(key)) else "..."


def _special(value: Any, kind: type, depth: int) -> Any:
    if kind in _by_type:
        entry = _by_type[kind]
        return Ext(Codes.OBJECT, _encoder.encode([entry.name, _child(entry.dump(value), f"<{entry.name}>", depth)]))
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, type):
        raise _At(f"is the class {value.__qualname__} itself: give an object of it")
    for base, convert in _CONVERTERS.items():
        if isinstance(value, base):
            return convert(value, depth)
    if kind.__module__.partition(".")[0] == "numpy":
        return _from_numpy(value, depth)
    if dataclasses.is_dataclass(value) or hasattr(value, "model_dump"):
        return Ext(
            Codes.OBJECT,
            _encoder.encode([_name_of(kind), _child(_fields(value), f"<{kind.__name__}>", depth)]),
        )
    if callable(getattr(value, "to_dict", None)):
        return _child(value.to_dict(), f"<{kind.__name__}.to_dict()>", depth)
    raise _At(
        f"is a {kind.__module__}.{kind.__qualname__}: give JSON's values, or register the type"
        " with ctxqueue.codec.register"
    )


def _integer(value: int) -> Ext:
    # Decimal digits would take quadratic time, and Python refuses more than 4,300 of them.
    return Ext(Codes.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def _datetime(value: datetime, _depth: int) -> Ext:
    return Ext(Codes.DATETIME, value.isoformat().encode())


def _decimal(value: Decimal, _depth: int) -> Ext:
    if not value.is_finite():
        raise _At(f"is {value}: only finite numbers can be stored")
    return Ext(Codes.DECIMAL, str(value).encode())


def _sequence(code: int) -> Callable[[Any, int], Ext]:
    def convert(value: Any, depth: int) -> Ext:
        items = [_child(item, f"[{index}]", depth) for index, item in enumerate(value)]
        if code != Codes.TUPLE:
            items.sort(key=_encoder.encode)  # equal sets have equal bytes
            _check_hashable(items)
        return Ext(code, _encoder.encode(items))

    return convert


def _check_hashable(items: list[Any]) -> None:
    # An unregistered dataclass comes back as a dict, and no set can hold that: it could be written, never read.
    for item in items:
        if isinstance(item, Ext):
            try:
                hash(_load(item.code, memoryview(item.data)))
            except TypeError:
                raise _At("holds items that no set could hold when read back: register their type") from None


_CONVERTERS: dict[type, Callable[[Any, int], Any]] = {
    datetime: _datetime,  # before date, which it is a subclass of
    date: lambda value, _: Ext(Codes.DATE, value.isoformat().encode()),
    Decimal: _decimal,
    UUID: lambda value, _: Ext(Codes.UUID, value.bytes),
    tuple: _sequence(Codes.TUPLE),
    set: _sequence(Codes.SET),
    frozenset: _sequence(Codes.FROZENSET),
    bytearray: lambda value, _: bytes(value),
    memoryview: lambda value, _: bytes(value),
    # Subclasses of the plain types lose their subclass, not their content.
    str: lambda value, _: str(value),
    bool: lambda value, _: bool(value),
    int: lambda value, depth: _plain(int(value), depth),
    float: lambda value, depth: _plain(float(value), depth),
    dict: lambda value, depth: _plain(dict(value), depth),
    list: lambda value, depth: _plain(list(value), depth),
    bytes: lambda value, _: bytes(value),
}


def _from_numpy(value: Any, depth: int) -> Any:
    if not hasattr(value, "shape") or value.dtype.hasobject or value.dtype.kind == "V" or hasattr(value, "mask"):
        raise _At(f"is a numpy {type(value).__name__} that has no fixed form")
    if value.shape == ():
        return _plain(value.item(), depth)
    if value.dtype.kind in "fc" and not bool((abs(value) < math.inf).all()):
        raise _At("is an array with NaN or infinity: only finite numbers can be stored")
    return Ext(Codes.ARRAY, _encoder.encode([value.dtype.str, list(value.shape), value.tobytes()]))


def _to_array(data: memoryview) -> Any:
    import numpy as np  # noqa: PLC0415 - a process that stores no arrays never loads it

    dtype, shape, raw = msgspec.msgpack.decode(data)
    return np.frombuffer(raw, dtype=dtype).reshape(shape).copy()


def _to_object(data: memoryview) -> Any:
    name, fields = unpack(data)
    entry = _by_name.get(name)
    return entry.load(fields) if entry else fields


_LOADERS: dict[int, Callable[[memoryview], Any]] = {
    Codes.INTEGER: lambda data: int.from_bytes(data, signed=True),
    Codes.DECIMAL: lambda data: Decimal(bytes(data).decode()),
    Codes.UUID: lambda data: UUID(bytes=bytes(data)),
    Codes.DATE: lambda data: date.fromisoformat(bytes(data).decode()),
    Codes.DATETIME: lambda data: datetime.fromisoformat(bytes(data).decode()),
    Codes.TUPLE: lambda data: tuple(unpack(data)),
    Codes.SET: lambda data: set(unpack(data)),
    Codes.FROZENSET: lambda data: frozenset(unpack(data)),
    Codes.OBJECT: _to_object,
    Codes.ARRAY: _to_array,
}


def _load(code: int, data: memoryview) -> Any:
    loader = _LOADERS.get(code)
    if loader is None:
        if code in (envelopes.SEALED, envelopes.REFUSED):
            raise envelopes.error_of(code, data)
        raise RecordTooNew(f"a value has the unknown form {code}: a newer ctxqueue wrote it; upgrade this process")
    try:
        return loader(data)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        if code == Codes.OBJECT:  # a registered type's own load() may say what it likes
            raise
        raise RecordDamaged(f"a stored value is damaged: its form {code} does not hold it") from error


_decoder = msgspec.msgpack.Decoder(ext_hook=_load)


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _fields(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value):
        # Not asdict(): nested values keep their own types.
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise _At(f"is a {type(value).__qualname__}, registered without dump=")
