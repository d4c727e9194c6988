"""What is believed of candidates that were trained, once the luck of single trainings is taken out."""

from __future__ import annotations

import optuna

from nasdepth.architecture import Architecture
from nasdepth.search.sampling.candidates import Candidates
from nasdepth.search.sampling.context import SamplerContext
from nasdepth.search.sampling.features import groups
from nasdepth.search.sampling.observations import observe
from nasdepth.search.sampling.surrogates import GaussianProcess

# fewer trainings do not tell luck from merit
_LEAST = 10
_NO_TRIAL = -1


def believed_si_rmse(study: optuna.Study, context: SamplerContext) -> dict[Architecture, float]:
    """si-RMSE of every trained candidate, as a Gaussian process believes it.

    A result that its features make plausible is believed; a lucky one is moved towards what its likes
    reached, the more the noisier trainings are.

    Returns:
        By architecture, for those that have features; empty after fewer than ten trainings.
    """
    seen = observe(study, context.space, _NO_TRIAL, context.earlier)
    rows, has = Candidates(context).features(seen.architectures)
    if has.sum() < _LEAST:
        return {}
    surrogate = GaussianProcess(list(groups().values()))
    surrogate.fit(rows, seen.si_rmse[has], seen.relative_noise[has])
    mean, _ = surrogate.predict(rows)
    known = [one for one, there in zip(seen.architectures, has, strict=True) if there]
    return dict(zip(known, mean.tolist(), strict=True))
