"""Students and teachers behind one door: what a user types or a checkpoint stores becomes a network."""

from __future__ import annotations

from nasdepth.architecture import Architecture
from nasdepth.models.depthnet import DepthNet, build
from nasdepth.models.pretrained import Start, load_pretrained, load_timm
from nasdepth.models.teachers import PREFIX, Teacher, TeacherNet, full_encoder
from nasdepth.models.timm_encoder import TimmEncoder
from nasdepth.zoo import resolve

AnyNetwork = DepthNet | TeacherNet


def parse_any(text: str) -> Architecture | Teacher:
    """Read an architecture string, the name of a design, or a teacher (`teacher:convnext_tiny@240x320`).

    Raises:
        SpaceError: none of them; the message says what is wrong.
    """
    return Teacher.parse(text) if text.strip().startswith(PREFIX) else resolve(text)


def build_any(network: str | Architecture | Teacher) -> AnyNetwork:
    """The untrained network of anything that `parse_any` reads or gives.

    Raises:
        SpaceError: for the reasons of `parse_any`, or an encoder that cannot be built for its input size.
    """
    parsed = parse_any(network) if isinstance(network, str) else network
    return TeacherNet(parsed) if isinstance(parsed, Teacher) else build(parsed)


def start_from_imagenet(model: AnyNetwork) -> Start:
    """Give a network's encoder the ImageNet weights of its name, where they can be had."""
    if isinstance(model, DepthNet):
        return load_pretrained(model.encoder, model.architecture.encoder)
    if isinstance(model.encoder, TimmEncoder):
        return load_timm(model.encoder.net, model.encoder.name, model.encoder.options)
    return load_pretrained(model.encoder, full_encoder(model.architecture.encoder))
