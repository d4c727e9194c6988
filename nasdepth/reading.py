"""Reading files that anybody may have written: of bounded size, and what cannot be used is one error."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from nasdepth.errors import NasdepthError, brief

LARGEST_TEXT_BYTES = 64 << 20
"""Text files above this are refused: none that nasdepth reads comes near."""

_DEEPEST = 64
# settings and cards have some ten thousand; what is much longer takes minutes to parse
_LONGEST_YAML = 2 << 20
# what aliases expand to counts: a file of a kilobyte can stand for a billion values
_MOST_VALUES = 200_000


def read_bytes(
    path: str | Path,
    *,
    where: str = "",
    at_most: int = LARGEST_TEXT_BYTES,
    error: type[NasdepthError] = NasdepthError,
) -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        where: what errors call the file; its path unless given.
        at_most: bytes above which the file is refused.
        error: the class of errors.

    Raises:
        NasdepthError: of the class `error`, where the file is missing, is a folder, a pipe or a device, is
            too large or cannot be read.
    """
    with open_regular(path, where=where, error=error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise error(f"{where or path}: has {size:,} bytes, more than the {at_most:,} that are read")
        return file.read(at_most)


@contextmanager
def open_regular(
    path: str | Path, *, where: str = "", error: type[NasdepthError] = NasdepthError
) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes.

    Args:
        path, where, error: as of `read_bytes`.

    Raises:
        NasdepthError: of the class `error`, for the reasons of `read_bytes`, sizes apart; an OSError within
            the block is taken for one of the file.
    """
    where = where or str(path)
    if "\0" in str(path):
        raise error(f"{where!r}: is no name of a file, it holds a zero byte; check the path")
    try:
        # a pipe without a writer would be waited for, and a device need not end
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error(f"{where}: is no regular file; give a file")
            yield file
    except OSError as problem:
        raise error(f"{where}: cannot be read ({problem.strerror or problem}); check the path") from problem


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_text(
    path: str | Path, *, where: str = "", kind: str = "", error: type[NasdepthError] = NasdepthError
) -> str:
    """Read a text file as UTF-8, with or without a byte order mark.

    Args:
        path, where, error: as of `read_bytes`.
        kind: what it should be, such as YAML, for the message where it is no text.

    Raises:
        NasdepthError: of the class `error`, for the reasons of `read_bytes` and for what is no UTF-8.
    """
    content = read_bytes(path, where=where, error=error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        what = f"no {kind}: not" if kind else "not"
        raise error(f"{where or path}: is {what} UTF-8 text ({problem}); save it as plain text") from problem


def parse_yaml(text: str, where: str, error: type[NasdepthError] = NasdepthError) -> Any:
    """Read YAML as plain values, whole numbers as YAML 1.2 spells them (`010` is ten).

    Raises:
        NasdepthError: of the class `error`, where it is no YAML, names a key twice, is nested too deeply, or
            stands for too many values by its aliases.
    """
    if len(text) > _LONGEST_YAML:
        raise error(f"{where}: has {len(text):,} characters, more than the {_LONGEST_YAML:,} that are read")
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise error(f"{where}: is no YAML: {problem}") from problem


def parse_json(text: str | bytes, where: str, error: type[NasdepthError] = NasdepthError) -> Any:
    """Read JSON.

    Raises:
        NasdepthError: of the class `error`, where it is no JSON, names a key twice or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: is no JSON: {problem}") from problem


def read_json(path: str | Path, *, error: type[NasdepthError] = NasdepthError) -> Any:
    """Read a JSON file: `read_text`, then `parse_json`."""
    return parse_json(read_text(path, kind="JSON", error=error), str(path), error)


def read_yaml(path: str | Path, *, error: type[NasdepthError] = NasdepthError) -> Any:
    """Read a YAML file: `read_text`, then `parse_yaml`."""
    return parse_yaml(read_text(path, kind="YAML", error=error), str(path), error)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {brief(twice)} is there twice")
    return found


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses what would take for ever or loses a value in silence."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested more than {_DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "an anchor that holds itself", mark)
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in _parts(node))
        if self._sizes[id(node)] > _MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"its aliases stand for more than {_MOST_VALUES:,} values", mark
            )
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as problem:  # 2020-13-45, or a number of 5,000 digits
            raise yaml.constructor.ConstructorError(None, None, str(problem), node.start_mark) from problem

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {brief(key.value)} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """A whole number, as YAML 1.2 spells it."""
        digits = self.construct_scalar(node)
        return int(digits, 0) if digits.lower().startswith(("0x", "0o")) else int(digits, 10)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


# in YAML 1.1 016 is fourteen and 1:30 ninety, which nobody means
_INT = "tag:yaml.org,2002:int"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT, re.compile(r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)$"), list("-+0123456789")
)
_Loader.add_constructor(_INT, _Loader.construct_whole_number)
