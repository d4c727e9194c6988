"""What is believed of candidates that were trained, once the luck of single trainings is taken out."""

from __future__ import annotations

import numpy as np
import optuna

from nasdepth.architecture import Architecture
from nasdepth.searching.sampling.candidates import Candidates
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.features import groups
from nasdepth.searching.sampling.observations import observe
from nasdepth.searching.sampling.surrogates import GaussianProcess

# fewer trainings do not tell luck from merit
_LEAST = 10
_NO_TRIAL = -1
# between seeds of one architecture, as a share of its si-RMSE (docs/measurements/search.md)
_SEED_SD = 0.015


def believed_si_rmse(study: optuna.Study, context: SamplerContext) -> dict[Architecture, float]:
    """si-RMSE of every trained candidate, with the luck of its training taken out.

    A Gaussian process foretells each candidate from all others. Where its own result differs, the difference
    is partly the candidate's own and partly the luck of one training. How far two seeds of one architecture
    differ is known, so the result is moved towards what was foretold by that share of the variance.

    Returns:
        By architecture, for those that have features; empty after fewer than ten trainings.
    """
    seen = observe(study, context.space, _NO_TRIAL, context.earlier)
    rows, has = Candidates(context).features(seen.architectures)
    if has.sum() < _LEAST:
        return {}
    surrogate = GaussianProcess(list(groups().values()))
    si_rmse, relative_noise = seen.si_rmse[has], seen.relative_noise[has]
    surrogate.fit(rows, si_rmse, relative_noise)
    foretold, variance = surrogate.leave_one_out()
    noise = (_SEED_SD * si_rmse) ** 2 * relative_noise
    own = np.maximum(variance - noise, 0)
    believed = foretold + own / (own + noise) * (si_rmse - foretold)
    known = [one for one, there in zip(seen.architectures, has, strict=True) if there]
    return dict(zip(known, believed.tolist(), strict=True))
