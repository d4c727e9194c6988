"""The examples in docstrings of pure functions say what the functions do."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["architecture", "data.sources", "families._family", "metrics", "score", "training.recipe"]
)
def test_examples_in_docstrings_hold(name):
    module = import_module(f"nasdepth.{name}")
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
