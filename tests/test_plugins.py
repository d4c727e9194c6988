"""Plugins: how they are found, what their errors say, and the commands and examples of docs/extending.md."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nasdepth import cli
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.devices.kinds import KINDS
from nasdepth.errors import PluginError, SpaceError
from nasdepth.families import IMAGENET, Family, register_family
from nasdepth.families import _family as family_registry
from nasdepth.models.encoder_blocks import build_encoder_block
from nasdepth.plugins import VARIABLE, load_plugins
from nasdepth.searching.sampling import SAMPLERS
from nasdepth.training.losses import registry as term_registry

REPOSITORY = Path(__file__).resolve().parent.parent
GUIDE = REPOSITORY / "docs" / "extending.md"
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
BLOCK = """
from nasdepth.decoder_blocks import register_block

@register_block({name!r}, kernels=(1,), summary="a test's")
def build(in_channels, out_channels, kernel, reparam):
    raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def as_if_nothing_was_loaded(monkeypatch, tmp_path):
    """Whatever a test loads is forgotten after it."""
    registries = (BLOCKS, KINDS, SAMPLERS, family_registry._FAMILIES, term_registry._TERMS)
    before = [dict(registry) for registry in registries]
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    yield
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(
            (str(tmp_path), str(REPOSITORY / "ex"))
        ):
            del sys.modules[name]


def run(monkeypatch, *arguments: str) -> int:
    """A command in this process, through the entry point."""
    monkeypatch.setattr(sys, "argv", ["nasdepth", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return 0


def test_the_guide_has_a_command_for_every_example():
    named = {word for command in COMMANDS for word in shlex.split(command) if word.startswith("examples/")}
    assert named == {f"examples/{path.name}" for path in (REPOSITORY / "examples").glob("*.*")}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            one, marks=pytest.mark.slow if " retrain " in one else (), id=one.split("/")[1].split(".")[0]
        )
        for one in COMMANDS
    ],
)
def test_the_commands_of_the_guide_do_what_they_say(monkeypatch, tmp_path, capfd, in_shared_cache, command):
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    program, *arguments = shlex.split(command)
    # on a busy machine the doctor finds a problem, which is status 1
    passing = (0, 1) if "doctor" in arguments else (0,)
    assert program == "nasdepth" and run(monkeypatch, *arguments) in passing
    said = capfd.readouterr()
    words = {"encoder_family": "mnasnet_small@1:4", "decoder_block": "convnext-k", "loss_term": "si-RMSE",
             "sampler": "sampler brute-force", "latency_predictor": "90 % interval",
             "device": "threads", "goal": "objective soft-limit:limit_ms=4"}  # fmt: skip
    used = [word for name, word in words.items() if f"/{name}.py" in command]
    assert all(word in said.out + said.err for word in used)


def test_a_module_of_this_folder_is_found_once(tmp_path):
    (tmp_path / "my_blocks.py").write_text(BLOCK.format(name="mine"))
    assert load_plugins(["my_blocks"]) == ("my_blocks",)
    assert BLOCKS["mine"].kernels == (1,)
    # the second time nothing is registered twice, and processes that start from here know it
    assert load_plugins(["my_blocks"]) == ("my_blocks",)
    assert os.environ[VARIABLE] == "my_blocks"
    del BLOCKS["mine"], sys.modules["my_blocks"]
    assert load_plugins() == ("my_blocks",) and "mine" in BLOCKS


def test_a_file_is_found_wherever_a_process_starts(tmp_path, monkeypatch):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "beside.py").write_text("NAME = 'from_a_file'")
    (folder / "file_block.py").write_text(f"import beside\n{BLOCK}".replace("{name!r}", "beside.NAME"))
    load_plugins(["plugins/file_block.py"])
    assert "from_a_file" in BLOCKS
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "from nasdepth import decoder_blocks, plugins; plugins.load_plugins()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('from_a_file' in decoder_blocks.BLOCKS)"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr


def test_an_installed_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nasdepth.plugins]\nblocks = my_package.blocks\n")
    (site / "my_package").mkdir()
    (site / "my_package/__init__.py").write_text("")
    (site / "my_package/blocks.py").write_text(BLOCK.format(name="installed"))
    monkeypatch.syspath_prepend(str(site))
    assert load_plugins() == ("my_package.blocks",)
    assert "installed" in BLOCKS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere", None, r"plugin nowhere: there is no such module; install it, start in the folder"),
        ("nowhere.sub", None, r"plugin nowhere.sub: there is no such module"),
        ("nowhere.py", None, r"plugin .*/nowhere\.py: there is no such file"),
        (
            "broken",
            "1 / 0",
            r"plugin broken: its import fails .*broken\.py:1 \(ZeroDivisionError: division",
        ),
        (
            "broken.py",
            "\nimport no_such_thing",
            r"broken\.py:2 \(ModuleNotFoundError: No module named",
        ),
        ("broken", "import no_such_thing", r"import fails at .*broken\.py:1 \(ModuleNotFoundError"),
        ("again.py", BLOCK.format(name="conv"), r"ValueError: decoder block 'conv' is registered twice"),
        ("json.py", "", r"json\.py: a module named json is loaded already; rename the file"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, capfd, name, content, words):
    if content is not None:
        (tmp_path / f"{name.removesuffix('.py')}.py").write_text(content)
    with pytest.raises(PluginError, match=words):
        load_plugins([name])
    assert os.environ[VARIABLE] == ""
    assert run(monkeypatch, "--plugin", name, "space", "show") == 2
    assert "error:" in capfd.readouterr().err


def family(*stages: str, name: str = "mine") -> Family:
    return Family(name, 16, tuple((stage,) for stage in stages), "relu", None, IMAGENET, "a test")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (family("ir_r1_k3_s2_e1_c16", name="resnet18"), "'resnet18' is registered twice"),
        (family("ir_r1_k3_s2_e1_c16", name="my-family"), "letters, digits and underscores only"),
        (family("ir_r1_k3_s2_e1_c16", "ir"), "'mine', stage 2: 'ir' is no block"),
        (family("ir_r1_k3_s2_e1_c16", "ir_3_c16"), "'mine', stage 2: 'ir_3_c16' is no block"),
        (family("ir_r1_k3_s2_e1"), "stage 1: 'ir_r1_k3_s2_e1' does not say its output channels"),
        (family("ir_r1_k3_s3_e1_c16"), "its strides are 2, 6; each must be a power of 2 up to 32"),
    ],
)
def test_a_family_that_cannot_be_built_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        register_family(wrong)


def test_a_kind_of_block_that_nothing_builds_is_named():
    block = register_family(family("magic_r1_k3_s2_c16")).blocks()[0][0]
    with pytest.raises(SpaceError, match=r"mine: its block 'magic_r1_s2_k3_c16' .*'magic'\); there are ds"):
        build_encoder_block(block, 16, (16,))
