"""A sampler of your own: every combination once, for spaces so small that nothing need be guessed.

A sampler is any sampler of Optuna. `SamplerContext` gives it the seed, the space and the latency of any
architecture; `nasdepth.searching.sampling.ProposingSampler` is a base class for one that proposes whole
architectures.
"""

from optuna.samplers import BaseSampler, BruteForceSampler

from nasdepth.searching.sampling import SamplerContext, register_sampler


@register_sampler("brute-force")
def brute_force(context: SamplerContext) -> BaseSampler:
    """Tries every combination of choices once."""
    return BruteForceSampler(seed=context.seed)
