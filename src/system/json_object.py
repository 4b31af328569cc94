"""Frozen dataclasses that are read from a JSON object, and write it again as it was."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self, get_origin, get_type_hints

from src.system.errors import UserError, shortened


@dataclass(frozen=True, kw_only=True)
class JsonObject:
    """The keys of a JSON object as fields. A field with a default may be absent there.

    `written` is the object that was read: what is absent there stays absent, and what is no field, since another version
    wrote it, stays. So `to_json` after `from_json` gives the same object, with its keys in the same order, and after
    `dataclasses.replace` one that differs in what was replaced alone. Two are equal when their fields are.
    """

    title: ClassVar[str] = "the file"  # for people
    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read a JSON object.

        Raises:
            UserError: it lacks a key that has no default, or a value is of another type.
        """
        if not isinstance(written, Mapping):
            raise UserError(f"{cls.title} is {shortened(written)} and no object: it has been changed, so make it again")
        values = _read(cls, written)
        for name, (each, _) in _fields(cls).items():
            if name not in values and each.default is MISSING and each.default_factory is MISSING:
                raise UserError(f"{cls.title} lacks the key {name}: an earlier version wrote it, so make it again")
        return cls(**values, written=written)

    def to_json(self) -> dict[str, Any]:
        """Write the JSON object: a field that has not changed as it was read, one that is as its default not at all."""
        result, before = dict(self.written), _read(type(self), self.written)
        for name, (each, _) in _fields(type(self)).items():
            value = getattr(self, name)
            default = each.default if each.default_factory is MISSING else each.default_factory()
            if value != before.get(name, default):
                result[name] = _plain(value)
        return result


def _fields(cls: type[JsonObject]) -> dict[str, tuple[Field[Any], Any]]:
    """List the fields that are keys, with their types."""
    if cls not in _fields_of:
        types = get_type_hints(cls)
        _fields_of[cls] = {each.name: (each, types[each.name]) for each in fields(cls) if each.name != "written"}
    return _fields_of[cls]


_fields_of: dict[type[JsonObject], dict[str, tuple[Field[Any], Any]]] = {}


def _read(cls: type[JsonObject], written: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields that are there, sections as their own types."""
    values = {}
    for name, (_, kind) in _fields(cls).items():
        if name in written:
            value = written[name]
            if isinstance(kind, type) and issubclass(kind, JsonObject):
                value = kind.from_json(value or {})
            else:
                _check(cls, name, value)
            values[name] = tuple(value) if get_origin(kind) is tuple else value
    return values


def _check(cls: type[JsonObject], name: str, value: Any) -> None:
    """Refuse a value that is not of its field's type."""
    from pydantic import TypeAdapter, ValidationError

    if (cls, name) not in _adapters:
        _adapters[cls, name] = TypeAdapter(_fields(cls)[name][1])
    try:
        _adapters[cls, name].validate_python(value)
    except ValidationError as error:
        why = error.errors()[0]["msg"].lower()
        raise UserError(
            f"{cls.title}, {name}: {shortened(value)} is not what was written there ({why}): make it again"
        ) from None


_adapters: dict[tuple[type[JsonObject], str], Any] = {}


def _plain(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value
