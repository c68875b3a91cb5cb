"""Parameters: a dataclass to a JSON Schema, and a JSON object to the dataclass."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from ._errors import Error

T = TypeVar("T")

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_METADATA = "conclave_sdk.schema"
_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}


def param(default: Any = dataclasses.MISSING, doc: str | None = None, **rules: Any) -> Any:
    """A field of a dataclass of parameters, with words for the client and rules of JSON Schema.

    Rules are those of JSON Schema with underscores, for example ``minimum=1``, ``max_length=80``. A
    field without a default is required. A default that is a list or a dict is copied for each use.
    """
    schema = {_camel(name): value for name, value in rules.items()}
    if doc is not None:
        schema["description"] = doc
    metadata = {_METADATA: schema}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def schema_of(params: type) -> dict[str, Any]:
    """The JSON Schema of a dataclass of parameters."""
    return {"$schema": DIALECT, **_schema(params)}


def decode(params: type[T], value: object) -> T:
    """The parameters in a JSON value that satisfies the schema."""
    return typing.cast(T, _decode(params, value, "params"))


def _camel(name: str) -> str:
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


def _schema(of: Any) -> dict[str, Any]:
    if of is Any:
        return {}
    if of in _PLAIN:
        return {"type": _PLAIN[of]}
    if of is type(None):
        return {"type": "null"}
    if dataclasses.is_dataclass(of):
        return _schema_of_fields(of)
    if isinstance(of, type) and issubclass(of, enum.Enum):
        return {"enum": [member.value for member in of]}
    origin, args = get_origin(of), get_args(of)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(one) for one in args]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0])}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    raise TypeError(f"a parameter cannot be of type {of!r}")


def _schema_of_fields(of: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(of)
    properties: dict[str, Any] = {}
    required = []
    for field in dataclasses.fields(of):
        schema = {**_schema(hints[field.name]), **field.metadata.get(_METADATA, {})}
        if field.default is not dataclasses.MISSING:
            schema["default"] = encode(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            schema["default"] = encode(field.default_factory())
        else:
            required.append(field.name)
        properties[field.name] = schema
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    # A dataclass without words of its own has its signature there.
    if of.__doc__ and not of.__doc__.startswith(f"{of.__name__}("):
        schema["description"] = of.__doc__.strip()
    return schema


def encode(value: Any) -> Any:
    """The JSON form of a value of a parameter."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {key: encode(one) for key, one in value.items()}
    return value


def _decode(to: Any, value: Any, path: str) -> Any:
    if to is Any:
        return value
    if to is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if to is int and isinstance(value, float) and value.is_integer():
        # JSON Schema counts 3.0 as an integer.
        return int(value)
    if to in _PLAIN or to is type(None):
        return _same_type(to, value, path)
    if dataclasses.is_dataclass(to):
        return _decode_fields(to, value, path)
    if isinstance(to, type) and issubclass(to, enum.Enum):
        return _decode_enum(to, value, path)
    origin, args = get_origin(to), get_args(to)
    if origin is Literal:
        if value not in args:
            raise Error(f"{path}: {value!r} is none of {list(args)}")
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(args, value, path)
    if origin is list:
        _same_type(list, value, path)
        return [_decode(args[0], one, f"{path}[{number}]") for number, one in enumerate(value)]
    if origin is dict:
        _same_type(dict, value, path)
        return {key: _decode(args[1], one, f"{path}.{key}") for key, one in value.items()}
    raise TypeError(f"a parameter cannot be of type {to!r}")


def _same_type(to: type, value: Any, path: str) -> Any:
    if type(value) is not to:
        raise Error(f"{path}: {value!r} is no {to.__name__}")
    return value


def _decode_enum(to: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    try:
        return to(value)
    except ValueError as error:
        raise Error(f"{path}: {error}") from None


def _decode_union(args: tuple[Any, ...], value: Any, path: str) -> Any:
    last: Error | None = None
    for one in args:
        try:
            return _decode(one, value, path)
        except Error as error:
            # `None` is the least telling of what a value might have been.
            last = last if one is type(None) and last is not None else error
    assert last is not None
    raise last


def _decode_fields(to: Any, value: Any, path: str) -> Any:
    _same_type(dict, value, path)
    hints = typing.get_type_hints(to)
    known = {field.name for field in dataclasses.fields(to)}
    for name in value:
        if name not in known:
            raise Error(f"{path}: unknown field `{name}`")
    given = {name: _decode(hints[name], one, f"{path}.{name}") for name, one in value.items()}
    try:
        return to(**given)
    except TypeError:
        missing = sorted(name for name in known if name not in given and _is_required(to, name))
        raise Error(f"{path}: missing field `{missing[0]}`" if missing else path) from None


def _is_required(of: Any, name: str) -> bool:
    field = next(field for field in dataclasses.fields(of) if field.name == name)
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
