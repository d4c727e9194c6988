"""What a proposal of the latency-aware sampler costs on the full space, by the number of trainings so far.

    python benchmarks/proposal_cost.py [--table zen4-xnnpack-1t] [--trials 50,100,200,400] [--repeat 5]

Trainings are made up (si-RMSE falls with the logarithm of the encoder's work): a proposal costs the same
whatever they say. The first proposal of a process estimates the latency of the whole pool; it is shown apart.
Seconds are of one core's work, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np
import optuna

from nasdepth.latency import architecture_kernels, encoder_kernels
from nasdepth.packs import load_predictor
from nasdepth.searching import Outcome, TrialRecord
from nasdepth.searching.records import ATTRIBUTE
from nasdepth.searching.sampling import LatencyAwareSampler, SamplerContext
from nasdepth.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", default="zen4-xnnpack-1t")
    parser.add_argument("--space", default="depth")
    parser.add_argument("--trials", default="50,100,200,400")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, predictor = SearchSpace.load(arguments.space), load_predictor(arguments.table)

    def latencies(architectures):
        return predictor.estimate_all([architecture_kernels(one, predictor.runtime) for one in architectures])

    study = optuna.create_study(direction="maximize")
    study.sampler = LatencyAwareSampler(SamplerContext(space, latencies, predictor.runtime))
    rng = random.Random(0)
    print(f"{arguments.table}, {space.name} space")
    for count in map(int, arguments.trials.split(",")):
        while len(study.trials) < count:
            _train(study, space, predictor, space.sample(rng))
        seconds = [_propose(study, space) for _ in range(arguments.repeat + 1)]
        first, rest = seconds[0], seconds[1:]
        print(
            f"{count:5d} trials: first proposal {first:6.2f} s, then {np.median(rest):.3f} s "
            f"({min(rest):.3f} to {max(rest):.3f})"
        )


def _train(study, space, predictor, architecture) -> None:
    work = sum(kernel.macs for kernel in encoder_kernels(architecture))
    value = 0.35 - 0.03 * np.log10(work / 1e6 + 1)
    estimate = predictor.estimate(architecture_kernels(architecture, predictor.runtime))
    record = TrialRecord(
        len(study.trials),
        architecture,
        Outcome.TRAINED,
        si_rmse=float(value),
        curve=(float(value) + 0.1, float(value)),
    ).with_estimate(estimate)
    study.add_trial(
        optuna.trial.create_trial(
            value=record.log2_score,
            params=space.parameters(architecture),
            distributions=space.distributions(architecture),
            user_attrs={ATTRIBUTE: record.to_attribute()},
        )
    )


def _propose(study, space) -> float:
    started = time.process_time()
    trial = study.ask()
    space.suggest(trial)
    seconds = time.process_time() - started
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return seconds


if __name__ == "__main__":
    main()
