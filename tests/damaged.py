"""Valid files of every kind that nasdepth reads, what reads them, and ways to damage them."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image

from nasdepth.architecture import Architecture
from nasdepth.data import load_folder, open_split
from nasdepth.devices import DeviceInfo, Measurement
from nasdepth.files import shipped
from nasdepth.latency import LatencyTable
from nasdepth.latency.extract import tflite_kernels
from nasdepth.latency.measure.journal import Journal
from nasdepth.latency.measure.random_networks import random_network
from nasdepth.models import build
from nasdepth.packs import load_predictor, read_anchors
from nasdepth.packs.physical.prior import read_prior
from nasdepth.recording import RecordFolder, RecordPlan
from nasdepth.replay.results import read_traces
from nasdepth.searching import Run, Settings
from nasdepth.space import SearchSpace
from nasdepth.tflite import write_network
from nasdepth.training import load_recipe
from nasdepth.training.checkpoint import load_model, save_checkpoint

_ARCHITECTURE = "64x64,mobilenetv3_small_minimal@0.4:2,none-conv-k1-w8,up-nearest-nearest"
_INFO = DeviceInfo(
    "board", "soc", "x86_64", 2, 1, "ai-edge-litert", "2.1.2", "xnnpack", "Linux", 64, "performance", "", ""
)
# a reader that takes longer hangs
PATIENCE_S = 30


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        write: writes a valid one, and what belongs to it, into a folder; returns the file to damage.
        read: what nasdepth does with it.
        text: how its values are spelt, for damage to single values: json, yaml, or empty for bytes alone.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    text: str = ""


def _shipped_table(folder: Path) -> Path:
    for suffix in (".yaml", ".csv.gz"):
        shutil.copy(shipped("latency_tables") / f"zen4-xnnpack-1t{suffix}", folder)
    rows = gzip.decompress((folder / "zen4-xnnpack-1t.csv.gz").read_bytes()).splitlines(keepends=True)[:40]
    (folder / "zen4-xnnpack-1t.csv.gz").unlink()
    (folder / "zen4-xnnpack-1t.csv").write_bytes(b"".join(rows))
    card = folder / "zen4-xnnpack-1t.yaml"
    card.write_text(re.sub(r"kernels: \d+", f"kernels: {len(rows) - 1}", card.read_text()))
    return folder / "zen4-xnnpack-1t.csv"


def _packed_table(folder: Path) -> Path:
    rows = _shipped_table(folder)
    packed = rows.with_name(rows.name + ".gz")
    packed.write_bytes(gzip.compress(rows.read_bytes()))
    rows.unlink()
    return packed


def _pack(folder: Path) -> Path:
    return Path(shutil.copy(shipped("latency_tables") / "rpi4-xnnpack-1t.yaml", folder))


def _space(folder: Path) -> Path:
    return Path(shutil.copy(shipped("search_spaces") / "quick.yaml", folder))


def _recipe(folder: Path) -> Path:
    (folder / "mine.yaml").write_text(load_recipe("default").to_yaml())
    return folder / "mine.yaml"


def _anchors(folder: Path) -> Path:
    (folder / "anchors.csv").write_text(
        f'model,latency_ms,precision\n"{_ARCHITECTURE}",3.5,float32\nmobilenet-v2-0.5-160,12,float32\n'
    )
    return folder / "anchors.csv"


def _settings(folder: Path) -> Path:
    settings = Settings(data="scenes:24+6").model_dump(mode="json")
    (folder / "search.json").write_text(json.dumps(settings, indent=1))
    return folder / "search.json"


def _results(folder: Path) -> Path:
    _settings(folder)
    best = {"architecture": _ARCHITECTURE, "score": 1.5}
    (folder / "results.json").write_text(json.dumps({"schema": "nasdepth-results-1", "best": best}))
    return folder / "results.json"


def _plan(folder: Path) -> Path:
    plan = RecordPlan(
        space="quick abc",
        data="scenes:24+6",
        data_fingerprint="0" * 16,
        table="here abc",
        seed=0,
        architectures=(_ARCHITECTURE, _ARCHITECTURE.replace("w8", "w16")),
        latency_ms=(1.0, 2.0),
        second_seeds=1,
        fully=0,
        fully_twice=0,
        compared=0,
        random_starts=0,
    )
    (folder / "plan.json").write_text(json.dumps(plan.model_dump(mode="json")))
    return folder / "plan.json"


def _traces(folder: Path) -> Path:
    (folder / "traces.csv").write_text("sampler,seed,commit,setting\ntpe,0,abc,def\n")
    return folder / "traces.csv"


def _checkpoint(folder: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(folder / "checkpoint.pt", build(Architecture.parse(_ARCHITECTURE)), history="[]")
    return folder / "checkpoint.pt"


def _tflite(folder: Path) -> Path:
    write_network(random_network(3), folder / "model.tflite")
    return folder / "model.tflite"


def _journal(folder: Path) -> Path:
    journal = Journal(folder / "journal.jsonl", _INFO)
    for number in range(3):
        journal.add(f"kernel {number}", Measurement(Path("a"), 1.0 + number, 1.1, 0.9, 0.1, 30))
    journal.close()
    return folder / "journal.jsonl"


def _open_journal(path: Path) -> None:
    Journal(path, _INFO).close()


def _photographs(folder: Path, suffix: str = "png") -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for sub in ("rgb", "depth"):
            (folder / sub).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(
            folder / "rgb" / f"{name}.{suffix}"
        )
        depth_mm = rng.integers(500, 4000, (24, 32)).astype(np.uint16)
        Image.fromarray(depth_mm).save(folder / "depth" / f"{name}.png")
    (folder / "train.txt").write_text("a\n")
    (folder / "test.txt").write_text("b\n")
    return folder


def _photograph(folder: Path) -> Path:
    return _photographs(folder) / "rgb" / "a.png"


def _jpeg(folder: Path) -> Path:
    return _photographs(folder, "jpg") / "rgb" / "a.jpg"


def _depth(folder: Path) -> Path:
    return _photographs(folder) / "depth" / "a.png"


def _list(folder: Path) -> Path:
    return _photographs(folder) / "train.txt"


def _open_folder(path: Path) -> None:
    load_folder(path.parent if path.suffix == ".txt" else path.parent.parent, "train", progress=False)


def _pairs(folder: Path) -> Path:
    _photographs(folder)
    (folder / "pairs.csv").write_text("rgb/a.png\n3,4,10,12,>,32,24\n1,1,20,30,<,32,24\n")
    return folder / "pairs.csv"


def _relative(folder: Path) -> Path:
    _photographs(folder)
    (folder / "relative_depth").mkdir()
    for name in ("a", "b"):
        np.save(folder / "relative_depth" / f"{name}.npy", np.random.default_rng(1).random((24, 32)))
    shutil.rmtree(folder / "depth")
    return folder / "relative_depth" / "a.npy"


def _video(folder: Path) -> Path:
    scene = folder / "scene"
    scene.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (number, 9, 9)).save(scene / f"{number}.png")
    (scene / "cam.txt").write_text("30 0 16\n0 30 12\n0 0 1\n")
    (folder / "train.txt").write_text("scene\n")
    return scene / "cam.txt"


KINDS = {
    "space": Kind(_space, lambda path: SearchSpace.load(path).size, "yaml"),
    "recipe": Kind(_recipe, load_recipe, "yaml"),
    "table": Kind(_shipped_table, LatencyTable.load),
    "packed table": Kind(_packed_table, LatencyTable.load),
    "card": Kind(lambda folder: _shipped_table(folder).with_suffix(".yaml"), load_predictor, "yaml"),
    "pack": Kind(_pack, load_predictor, "yaml"),
    "prior": Kind(lambda folder: _recipe(folder), lambda path: read_prior(str(path)), "yaml"),
    "anchors": Kind(_anchors, lambda path: read_anchors(path, "xnnpack")),
    "settings": Kind(_settings, lambda path: Run.open(path.parent), "json"),
    "results": Kind(_results, lambda path: Run.open(path.parent).best_architecture(), "json"),
    "plan": Kind(_plan, lambda path: RecordFolder.open(path.parent).jobs(), "json"),
    "traces": Kind(_traces, read_traces),
    "checkpoint": Kind(_checkpoint, load_model),
    "tflite": Kind(_tflite, tflite_kernels),
    "journal": Kind(_journal, _open_journal),
    "photograph": Kind(_photograph, _open_folder),
    "jpeg": Kind(_jpeg, _open_folder),
    "depth": Kind(_depth, _open_folder),
    "list": Kind(_list, _open_folder),
    "pairs": Kind(_pairs, lambda path: open_split(f"diw:{path}", "train", progress=False)),
    "relative": Kind(
        _relative, lambda path: open_split(f"relative:{path.parent.parent}", "train", progress=False)
    ),
    "video": Kind(_video, lambda path: open_split(f"video:{path.parent.parent}", "train", progress=False)),
}

_ODD = [
    0,
    1,
    -1,
    10**9,
    10**30,
    1e-12,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    None,
    True,
    "",
    "x",
    "ü\u202e",
    "../../etc/passwd",
    "9" * 5000,
    [],
    {},
    [[]],
    {"a": 1},
    [1] * 2000,
    {"low": 0, "high": 10**9, "step": 1},
    {"low": 0, "high": 1, "step": 1e-12},
]
_ODD_WORDS = [
    b"0",
    b"1",
    b"-1",
    b"1000000000",
    b"1e-12",
    b"nan",
    b"inf",
    b"-inf",
    b"",
    b"x",
    b"\xc3\xbc",
    b"\x00",
]
_ODD_WORDS += [b'"', b"..", b"9" * 5000, b"{", b"[", b"&a [*a]", b"\xff", b"1e400"]


@st.composite
def damage(draw: st.DrawFn, content: bytes, text: str) -> bytes:
    """One to three changes of a valid file's content."""
    for _ in range(draw(st.integers(1, 3))):
        ways = ["truncated", "flipped", "inserted", "word", "mark", "lines", "ends", "emptied"]
        way = draw(st.sampled_from([*ways, *(["value"] * 6 if text else [])]))
        place = draw(st.integers(0, max(0, len(content) - 1)))
        match way:
            case "truncated":
                content = content[:place]
            case "flipped" if content:
                content = (
                    content[:place]
                    + bytes([content[place] ^ draw(st.integers(1, 255))])
                    + content[place + 1 :]
                )
            case "inserted":
                content = content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
            case "word":
                words = list(re.finditer(rb"[^\s,:;\[\]{}\"']+", content[:200_000]))
                if words:
                    word = words[draw(st.integers(0, len(words) - 1))]
                    odd = draw(st.sampled_from(_ODD_WORDS))
                    content = content[: word.start()] + odd + content[word.end() :]
            case "mark":
                content = b"\xef\xbb\xbf" + content
            case "lines":
                lines = content.split(b"\n")
                line = draw(st.integers(0, len(lines) - 1))
                lines[line : line + 1] = [lines[line]] * draw(st.sampled_from([0, 2]))
                content = b"\n".join(lines)
            case "ends":
                content = content.replace(b"\n", b"\r\n")
            case "emptied":
                content = draw(st.sampled_from([b"", b"\n", b"null", b"[]", b"{}", b"\x00" * 100]))
            case "value":
                content = _other_value(draw, content, text)
    return content


def _other_value(draw: st.DrawFn, content: bytes, text: str) -> bytes:
    """The file with one value replaced, one key missing, or one that is unknown."""
    try:
        tree = json.loads(content) if text == "json" else yaml.safe_load(content)
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return content
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
    except (ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError):
        return content
    match draw(st.sampled_from(["other", "other", "missing", "unknown"])):
        case "other":
            place[key] = draw(st.sampled_from(_ODD))
        case "missing":
            del place[key]
        case "unknown" if isinstance(place, dict):
            place["unheard_of"] = draw(st.sampled_from(_ODD))
    return (json.dumps(tree) if text == "json" else yaml.safe_dump(tree)).encode()


@contextmanager
def in_time(seconds: int = PATIENCE_S) -> Iterator[None]:
    """Raise AssertionError where the block takes longer."""

    def hangs(*_: Any) -> None:
        raise AssertionError(f"it hangs: {seconds} s have passed")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
