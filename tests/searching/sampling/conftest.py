"""What tests of samplers share: the full space with a shipped table, and trainings that follow a formula."""

import math
import random
from dataclasses import dataclass, field

import optuna
import pytest

from nasdepth.architecture import JOINING, Architecture
from nasdepth.kernels.kernel import CONVOLUTIONS
from nasdepth.latency import architecture_kernels
from nasdepth.packs import load_predictor
from nasdepth.score import log2_score
from nasdepth.searching import Outcome, TrialRecord
from nasdepth.searching.records import ATTRIBUTE
from nasdepth.searching.sampling import SamplerContext
from nasdepth.space import SearchSpace

PRETRAINED = ("mobilenetv2", "efficientnet_lite0")


def formula(architecture: Architecture) -> float:
    """A si-RMSE that falls with capacity and resolution, by rules that no surrogate has as such."""
    macs = sum(one.macs for one in architecture_kernels(architecture) if one.op in CONVOLUTIONS)
    narrowest = min(stage.width for stage in architecture.decoder)
    weak = max(0.0, 0.6 - math.log2(narrowest / 8) / 4) + max(0.0, 3.4 - math.log10(macs / 3e3)) * 0.6
    skips = sum(stage.skip in JOINING for stage in architecture.decoder)
    start = 0.0 if architecture.encoder.family in PRETRAINED else 0.03
    return 0.17 + 0.05 * weak + start + 0.02 / (1 + skips)


@dataclass
class World:
    """The full space on a measured table; counts what is asked."""

    space: SearchSpace
    predictor: object
    asked: int = 0
    refused: set = field(default_factory=set)

    def context(self, **changes) -> SamplerContext:
        def latencies(architectures):
            self.asked += len(architectures)
            return self.predictor.estimate_all([architecture_kernels(one) for one in architectures])

        given = {"space": self.space, "latencies": latencies, "pretrained": PRETRAINED.__contains__}
        return SamplerContext(**given | changes)

    def record(self, number, architecture, curve=None, outcome=Outcome.TRAINED) -> TrialRecord:
        value = formula(architecture)
        curve = (value + 0.1, value) if curve is None else curve
        record = TrialRecord(number, architecture, outcome, curve=curve, si_rmse=curve[-1] if curve else None)
        return record.with_estimate(self.predictor.estimate(architecture_kernels(architecture)))

    def study(self, mode="score") -> optuna.Study:
        directions = ["maximize"] if mode == "score" else ["minimize", "minimize"]
        return optuna.create_study(directions=directions)

    def add(self, study: optuna.Study, *records: TrialRecord) -> None:
        """Ended trials, as a search tells them."""
        for record in records:
            pareto = len(study.directions) == 2
            values = [record.si_rmse, record.latency_ms] if pareto else [record.log2_score]
            state = optuna.trial.TrialState.COMPLETE
            if record.outcome is Outcome.PRUNED:
                state, values = optuna.trial.TrialState.PRUNED, None
            elif record.outcome is not Outcome.TRAINED:
                state, values = optuna.trial.TrialState.FAIL, None
            study.add_trial(
                optuna.trial.create_trial(
                    params=self.space.parameters(record.architecture),
                    distributions=self.space.distributions(record.architecture),
                    user_attrs={ATTRIBUTE: record.to_attribute()},
                    values=values,
                    state=state,
                )
            )

    def search(self, study: optuna.Study, trials: int) -> list[Architecture]:
        """Ask, train by the formula, tell."""
        proposed = []
        for _ in range(trials):
            trial = study.ask()
            architecture = self.space.suggest(trial)
            record = self.record(trial.number, architecture)
            trial.set_user_attr(ATTRIBUTE, record.to_attribute())
            pareto = len(study.directions) == 2
            study.tell(trial, [record.si_rmse, record.latency_ms] if pareto else record.log2_score)
            proposed.append(architecture)
        return proposed

    def score(self, architecture: Architecture) -> float:
        return log2_score(formula(architecture), self.latency_ms(architecture))

    def latency_ms(self, architecture: Architecture) -> float:
        return self.predictor.estimate(architecture_kernels(architecture)).latency_ms

    def sample(self, count: int, seed: int = 0) -> list[Architecture]:
        rng = random.Random(seed)
        return [self.space.sample(rng) for _ in range(count)]


@pytest.fixture(scope="session", autouse=True)
def small_pool():
    """Estimates of thousands of networks that no test looks at take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasdepth.searching.sampling.latency_aware._POOL_BEGIN", 150)
        patch.setattr("nasdepth.searching.sampling.latency_aware._POOL_END", 300)
        yield


@pytest.fixture(scope="session")
def world():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return World(SearchSpace.load("depth"), load_predictor("zen4-xnnpack-1t"))
