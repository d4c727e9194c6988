"""Samplers: how a search decides what to train next."""

from nasdepth.searching.sampling.belief import believed_si_rmse
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.evolution import RegularisedEvolutionSampler
from nasdepth.searching.sampling.latency_aware import LatencyAwareSampler
from nasdepth.searching.sampling.proposing import ProposingSampler
from nasdepth.searching.sampling.registry import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    check_sampler,
    make_sampler,
    register_sampler,
)

__all__ = [
    "DEFAULT_SAMPLER",
    "SAMPLERS",
    "LatencyAwareSampler",
    "ProposingSampler",
    "RegularisedEvolutionSampler",
    "SamplerContext",
    "believed_si_rmse",
    "check_sampler",
    "make_sampler",
    "register_sampler",
]
