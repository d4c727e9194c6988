"""Plugins: modules from outside that register encoder families, blocks, loss terms or samplers when imported.

A plugin is found in three ways: an installed package names its module under the entry point group
`nasdepth.plugins`, the environment variable `NASDEPTH_PLUGINS` lists it, or the caller names it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from nasdepth.errors import PluginError

GROUP = "nasdepth.plugins"
VARIABLE = "NASDEPTH_PLUGINS"
"""The plugins that are loaded besides those named, separated as the folders of $PATH are."""


def load_plugins(named: Iterable[str] = ()) -> tuple[str, ...]:
    """Import every installed plugin, those of `$NASDEPTH_PLUGINS` and those named; none is imported twice.

    What is named is added to `$NASDEPTH_PLUGINS`, so that processes which this one starts know it too.

    Args:
        named: modules, each as an import spells it or as the path of a `.py` file. Modules are also looked
            for in the current folder.

    Returns:
        The names of all that were loaded, installed ones first.

    Raises:
        PluginError: a plugin is not found, or its import fails; the message names it and the mend.
    """
    installed = [entry.module for entry in entry_points(group=GROUP)]
    inherited = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    # a process that is started elsewhere must find the file too
    given = [str(Path(name).resolve()) if _is_file(name) else name for name in named]
    listed = tuple(dict.fromkeys([*installed, *inherited, *given]))
    for name in listed:
        _load(name)
    if given:
        os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*inherited, *given]))
    return listed


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def _load(name: str) -> ModuleType:
    if _is_file(name):
        return _load_file(Path(name))
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # last: a file of this folder must not hide an installed module
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise PluginError(
                f"plugin {name}: there is no such module; install it, start in the folder where it lies, or "
                "give the path of its .py file"
            ) from error
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def _load_file(path: Path) -> ModuleType:
    """Import a file under its own name, as if its folder were searched for modules."""
    if not path.is_file():
        raise PluginError(f"plugin {path}: there is no such file")
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known
        raise PluginError(f"plugin {path}: a module named {path.stem} is loaded already; rename the file")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = module_from_spec(spec)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise _failed(str(path), error) from error
    return module


def _failed(name: str, error: Exception) -> PluginError:
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}"
    return PluginError(
        f"plugin {name}: its import fails at {where.filename}:{where.lineno} ({what}); mend the plugin, or "
        "leave it out"
    )
