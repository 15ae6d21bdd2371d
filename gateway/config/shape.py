"""Structure of the models: keys, sections, lists, secrets; for the environment, errors and documentation."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the keys of a section as written in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def bare(annotation: Any) -> Any:
    """Return the annotation without Annotated and without "or None"."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            (annotation,) = [arg for arg in get_args(annotation) if arg is not type(None)]
        else:
            return annotation


def section(annotation: Any) -> type[BaseModel] | None:
    """Return the model of an annotation, None if it is no section."""
    inner = bare(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def item(annotation: Any) -> Any:
    """Return the annotation of a list's items, None if it is no list."""
    inner = bare(annotation)
    return get_args(inner)[0] if get_origin(inner) is tuple else None


def is_secret(annotation: Any) -> bool:
    return bare(annotation) is SecretStr


def annotation_at(model: type[BaseModel], path: Sequence[str | int]) -> Any:
    """Return the annotation of the key at `path`, None for an unknown key."""
    annotation: Any = model
    for part in path:
        inside = section(annotation)
        if inside is not None:
            field = keys(inside).get(str(part))
            annotation = field.annotation if field is not None else None
        else:
            annotation = item(annotation) if isinstance(part, int) else None
        if annotation is None:
            return None
    return annotation


def paths(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield every key outside lists, in the order of the models, sections before their keys."""
    for name, field in keys(model).items():
        path = (*prefix, name)
        yield path, field
        inside = section(field.annotation)
        if inside is not None:
            yield from paths(inside, path)
