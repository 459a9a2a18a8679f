"""Dataclasses as JSON and back, by the types of their fields; what a run keeps of a `DataSpec`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any


def to_record(value: Any) -> Any:
    """A dataclass of text, numbers, tuples, mappings and dataclasses as what JSON can hold."""
    return dataclasses.asdict(value)


def from_record(kind: Any, record: Any) -> Any:
    """The value of type `kind` that `to_record` (and JSON) made a record of.

    Raises:
      KeyError: the record lacks a field that has no default.
    """
    if dataclasses.is_dataclass(kind):
        types = typing.get_type_hints(kind)
        required = [f.name for f in dataclasses.fields(kind) if _has_no_default(f)]
        names = [*required, *(name for name in types if name in record and name not in required)]
        return kind(**{name: from_record(types[name], record[name]) for name in names})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(from_record(arguments[0], each) for each in record)
    if origin is not None and is_mapping_type(origin):
        return {key: from_record(arguments[1], each) for key, each in record.items()}
    return record


def is_mapping_type(origin: Any) -> bool:
    """Whether the origin of a generic type is a mapping."""
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _has_no_default(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing
