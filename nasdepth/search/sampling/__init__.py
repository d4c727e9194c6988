"""Samplers: how a search decides what to train next."""

from nasdepth.search.sampling.belief import believed_si_rmse
from nasdepth.search.sampling.context import SamplerContext
from nasdepth.search.sampling.evolution import RegularisedEvolutionSampler
from nasdepth.search.sampling.latency_aware import LatencyAwareSampler
from nasdepth.search.sampling.proposing import ProposingSampler
from nasdepth.search.sampling.registry import (
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
