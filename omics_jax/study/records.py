"""Dataclasses to JSON and back, by the types of their fields; a run stores its `DataSpec` so."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any


def to_record(value: Any) -> Any:
    """A dataclass of text, numbers, tuples, mappings and dataclasses, as JSON can hold it."""
    return dataclasses.asdict(value)


def from_record(kind: Any, record: Any) -> Any:
    """The value of type `kind` from its record: the inverse of `to_record`, also through JSON.

    Raises:
      KeyError: the record lacks a field that has no default.
    """
    if dataclasses.is_dataclass(kind):
        types = typing.get_type_hints(kind)
        required = [field.name for field in dataclasses.fields(kind) if _has_no_default(field)]
        optional = [name for name in types if name in record and name not in required]
        names = [*required, *optional]
        return kind(**{name: from_record(types[name], record[name]) for name in names})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(from_record(arguments[0], item) for item in record)
    if is_mapping_type(origin):
        return {key: from_record(arguments[1], value) for key, value in record.items()}
    return record


def is_mapping_type(origin: Any) -> bool:
    """Whether the origin of a type, such as `dict` of `dict[str, int]`, is a mapping."""
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _has_no_default(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing
