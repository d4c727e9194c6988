"""The reader of settings: what its errors say of nested sections, unions and files."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from nasdepth.config import read_fields, read_model, validated
from nasdepth.errors import NasdepthError, SpaceError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Circle(Strict):
    kind: Literal["circle"]
    radius_mm: Annotated[float, Field(gt=0)]


class Square(Strict):
    kind: Literal["square"]
    side_mm: float = 1.0


class Page(Strict):
    title: str
    shape: Annotated[Circle | Square, Field(discriminator="kind")] | None = None
    corners: tuple[Square, ...] = ()
    by_name: dict[str, Annotated[int, Field(ge=0)]] = {}


GOOD = {"title": "a", "shape": {"kind": "circle", "radius_mm": 2}, "corners": [{"kind": "square"}]}


@pytest.mark.parametrize(("name", "text"), [("page.yaml", "title: a"), ("page.json", '{"title": "a"}')])
def test_yaml_and_json_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_model(tmp_path / name, Page, example="title: a") == Page(title="a")


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"tilte": "b"}, ["tilte: unknown field (value: 'b') (did you mean title?); there are title, shape"]),
        ({"title": 3}, ["title: Input should be a valid string (value: 3)"]),
        ({"shape": {"kind": "circle"}}, ["shape.radius_mm: is missing"]),
        ({"shape": {"kind": "circle", "radius_mm": -1}}, ["shape.radius_mm: Input should be greater than 0"]),
        (
            {"shape": {"kind": "square", "side_m": 1}},
            ["shape.side_m: unknown field (value: 1) (did you mean side_mm?); there are kind, side_mm"],
        ),
        ({"shape": {"kind": "star"}}, ["shape: Input tag 'star' found using 'kind' does not match"]),
        ({"corners": [{"kind": "square", "side": 1}]}, ["corners.0.side: unknown field", "kind, side_mm"]),
        ({"by_name": {"x": -1}}, ["by_name.x: Input should be greater than or equal to 0 (value: -1)"]),
        ({"title": 3, "by_name": {"x": -1}}, ["title: ", "by_name.x: "]),
        ({"by_name": {str(n): -1 for n in range(8)}}, ["by_name.4: ", "and 3 more"]),
    ],
)
def test_every_problem_is_a_line_that_names_field_value_and_mend(changes, lines):
    with pytest.raises(SpaceError) as error:
        validated(Page, GOOD | changes, "page.yaml", error=SpaceError)
    said = str(error.value)
    assert all(line in said for line in lines), said
    assert all(line.startswith("page.yaml: ") for line in said.splitlines())


def test_a_section_is_part_of_the_path():
    with pytest.raises(NasdepthError, match=r"^pages\.first\.title: is missing$"):
        validated(Page, {}, section="pages.first")


def test_what_a_validator_of_ours_says_keeps_its_place():
    def refuse(_):
        raise NasdepthError("shape: no such shape")

    class Drawn(BaseModel):
        shape: Annotated[str, BeforeValidator(refuse)]

    with pytest.raises(SpaceError, match=r"^page\.yaml: shape: no such shape$"):
        validated(Drawn, {"shape": "star"}, "page.yaml", error=SpaceError)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.yaml", None, r"none\.yaml: cannot be read \(No such file"),
        ("bad.yaml", b"title: [", r"bad\.yaml: is no YAML: "),
        ("bad.json", b"{title}", r"bad\.json: is no JSON: "),
        ("bytes.yaml", b"\xff\xfe", r"bytes\.yaml: is no YAML: "),
        ("list.yaml", b"- title", r"list\.yaml: must list fields such as `title: a` \(value: \['title'\]\)"),
        ("empty.yaml", b"", r"empty\.yaml: must list fields such as `title: a` \(value: None\)"),
    ],
)
def test_a_file_that_lists_no_fields_is_named(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpaceError, match=words):
        read_fields(tmp_path / name, example="title: a", error=SpaceError)
