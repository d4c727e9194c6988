"""Imports between rooms go the way that docs/architecture.md draws, and no modules import in a circle."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nasdepth"
# Names and types of the package itself, which stand above all rooms
ABOVE = ("nasdepth", "__main__")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def imported(module: str) -> set[str]:
    """Modules of the package that a module imports when it runs, in functions too."""
    found = set()
    for node in ast.walk(_without_types(MODULES[module])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nasdepth":
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "nasdepth"}
    return found - {module}


def _without_types(tree: ast.Module) -> ast.Module:
    """Without what only a type checker imports."""

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Remover().visit(ast.parse(ast.unparse(tree)))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def drawn() -> list[list[str]]:
    """Rooms line by line, from the block of docs/architecture.md that draws them."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"Data goes one way.*?```\n(.*?)```", text, re.DOTALL)
    assert block, "docs/architecture.md draws no rooms"
    return [re.findall(r"\w+", line) for line in block[1].splitlines() if line.strip()]


def test_every_room_is_drawn_once():
    rooms = [room for line in drawn() for room in line]
    there = {room_of(module) for module in MODULES} - set(ABOVE)
    assert sorted(rooms) == sorted(there)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_its_own_room_and_those_below(module):
    level = {room: number for number, line in enumerate(drawn()) for room in line}
    own = room_of(module)
    if own in ABOVE:
        return
    wrong = {
        other
        for other in imported(module)
        if room_of(other) not in (own, "nasdepth") and level[room_of(other)] <= level[own]
    }
    assert not wrong


def test_predicting_and_extracting_need_nothing_that_measures():
    for module in MODULES:
        if module.startswith(("nasdepth.latency.predict", "nasdepth.latency.extract")):
            assert not [one for one in imported(module) if one.startswith("nasdepth.latency.measure")], module


def test_no_module_imports_itself_in_a_circle():
    # static_order raises CycleError, which names the circle
    assert tuple(TopologicalSorter({module: imported(module) for module in MODULES}).static_order())


def test_functions_import_no_other_room_but_in_the_cli():
    for module, tree in MODULES.items():
        own = room_of(module)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and own not in ("cli", *ABOVE):
                inner = [node.module or "" for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
                others = [name for name in inner if name.startswith("nasdepth") and room_of(name) != own]
                assert not others, f"{module}, {function.name}"


def test_no_package_hides_a_module_behind_a_function_of_its_name():
    for module, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{module}."):
                hidden = {f"{module}.{alias.asname or alias.name}" for alias in node.names} & MODULES.keys()
                assert not hidden
