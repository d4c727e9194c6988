"""The reader of YAML and JSON files that pydantic models check, with errors that say what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError

from nasdepth.errors import NasdepthError, brief, nearest
from nasdepth.reading import parse_json, parse_yaml, read_text

_SHOWN_PROBLEMS = 5
_LATER = "later"


def read_model[Model: BaseModel](
    path: str | Path,
    model: type[Model],
    *,
    example: str,
    where: str = "",
    error: type[NasdepthError] = NasdepthError,
) -> Model:
    """Read a YAML or JSON file as a model: `read_fields`, then `validated`, with their arguments."""
    return validated(
        model, read_fields(path, example=example, where=where, error=error), where or path, error=error
    )


def read_fields(
    path: str | Path, *, example: str, where: str = "", error: type[NasdepthError] = NasdepthError
) -> dict[str, Any]:
    """Read a file that lists fields. A file named `.json` is read as JSON, any other as YAML.

    Args:
        path: the file.
        example: a field as such a file has it, for the message where there are none.
        where: what errors call the file; its path unless given.
        error: the class of errors.

    Raises:
        NasdepthError: of the class `error`, where the file cannot be read, does not parse or lists no fields.
    """
    path = Path(path)
    where = where or str(path)
    kind, parse = ("JSON", parse_json) if path.suffix == ".json" else ("YAML", parse_yaml)
    content = parse(read_text(path, where=where, kind=kind, error=error), where, error)
    if not isinstance(content, dict):
        raise error(f"{where}: must list fields such as `{example}` (value: {brief(content)})")
    if wrong := [name for name in content if not isinstance(name, str)]:
        raise error(f"{where}: {brief(wrong[0])}: Keys should be strings; put it in quotes")
    return content


def validated[Model: BaseModel](
    model: type[Model],
    fields: Mapping[str, Any],
    where: str | Path = "",
    *,
    section: str = "",
    error: type[NasdepthError] = NasdepthError,
) -> Model:
    """Check fields by a model.

    Args:
        model: says which fields there are and what they may be.
        fields: by name their values.
        where: the file, or what else holds the fields; errors begin with it.
        section: the path of the fields within it, such as `loss.sig`.
        error: the class of errors.

    Raises:
        NasdepthError: of the class `error`, with one line for each of the first few problems: `where`, the
            field by its path, what is wrong, the value and, for an unknown name, the names that there are.
    """
    start = f"{where}: " if where else ""
    try:
        return model.model_validate(fields)
    except NasdepthError as problem:  # of a validator that reads a part by itself
        raise error(f"{start}{problem}") from problem
    except ValidationError as problem:
        raise error("\n".join(start + line for line in _problems(model, problem, section))) from problem


def later(default: Any, **limits: Any) -> Any:
    """A pydantic field that a model did not have at first; its default is what was done before.

    Args:
        default: the field's default.
        limits: further arguments of `pydantic.Field`.
    """
    return Field(default, json_schema_extra={_LATER: True}, **limits)


def later_defaults(value: Any) -> dict[Any, Any]:
    """Find the `later` fields that have their default, so that a hash can leave them out.

    Args:
        value: a model, or a mapping of such.

    Returns:
        What pydantic's `exclude` takes.
    """
    if isinstance(value, BaseModel):
        found: dict[Any, Any] = {}
        for name, field in type(value).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get(_LATER) and getattr(value, name) == field.default:
                found[name] = True
            elif inside := later_defaults(getattr(value, name)):
                found[name] = inside
        return found
    if isinstance(value, Mapping):
        return {name: inside for name, one in value.items() if (inside := later_defaults(one))}
    return {}


def _problems(model: type[BaseModel], error: ValidationError, section: str) -> Iterator[str]:
    found = error.errors()
    for one in found[:_SHOWN_PROBLEMS]:
        inside, names = _place(model, one["loc"])
        path = ".".join(part for part in (section, inside) if part)
        match one["type"]:
            case "missing":
                yield f"{path}: is missing"
            case "extra_forbidden":
                close = nearest(path.rpartition(".")[2], names)
                there = f"{close}; there are {', '.join(names)}"
                yield f"{path}: unknown field (value: {brief(one['input'])}){there}"
            case _:
                yield f"{path}: {one['msg']} (value: {brief(one['input'])})"
    if len(found) > _SHOWN_PROBLEMS:
        yield f"and {len(found) - _SHOWN_PROBLEMS} more"


def _place(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[str, list[str]]:
    """The dotted path of an error, and the names of the fields of the section that it lies in."""
    sections, path = [model], []
    for part in loc:
        fields = {name: field for section in sections for name, field in section.model_fields.items()}
        tagged = [section for section in sections if _has_tag(section, part)]
        if part not in fields and tagged:  # pydantic puts the kind of a union's member into the path
            sections = tagged
            continue
        path.append(str(part))
        if part in fields:
            sections = list(_models_of(fields[part].annotation)) or sections
    return ".".join(path), [name for section in sections for name in section.model_fields]


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _models_of(argument)
