"""A commented space to begin one's own from."""

import pytest

from nasdepth.errors import SpaceError
from nasdepth.space import SearchSpace
from nasdepth.space.template import commented_yaml


@pytest.mark.parametrize("name", ["quick", "depth"])
def test_the_same_choices_are_read_back(tmp_path, name):
    space = SearchSpace.load(name)
    path = tmp_path / "mine.yaml"
    path.write_text(commented_yaml(space, "mine"))
    read = SearchSpace.load(path)
    assert read.name == "mine" and read.size == space.size
    for section in ("input", "encoder", "decoder", "head"):
        assert getattr(read.definition, section) == getattr(space.definition, section)
        for field in getattr(space.definition, section).model_dump():
            assert f"  {field}: [" in path.read_text()


def test_misspelt_families_and_blocks_have_neighbours(tmp_path):
    text = commented_yaml(SearchSpace.load("quick"), "mine")
    for right, wrong in (("efficientnet_lite0]", "eficientnet_lite0]"), ("block: [conv]", "block: [dsconf]")):
        (tmp_path / "wrong.yaml").write_text(text.replace(right, wrong))
        with pytest.raises(SpaceError, match=r"did you mean (efficientnet_lite|dsconv)"):
            SearchSpace.load(tmp_path / "wrong.yaml")
