"""Records of trainings that a formula stands for: small enough for seconds, and its truth is known."""

import hashlib
import math
import random
from datetime import date

import numpy as np

from nasdepth.latency import architecture_kernels
from nasdepth.recording import FIDELITIES, ArchiveCard, RecordPlan, Records, TrainingRecord, counted
from nasdepth.space import SearchSpace

TABLE = "zen4-xnnpack-1t"
NOISE = 0.01
OWN = 0.01


def true_si_rmse(architecture, fidelity="proxy"):
    """Larger networks are better, with a kink that no linear model has, and a deviation of each one's own."""
    macs = sum(kernel.macs for kernel in architecture_kernels(architecture))
    value = 0.42 - 0.03 * min(math.log2(macs / 1e6), 5.0)
    value -= 0.02 * (architecture.head_upsampling == "bilinear")
    value += 0.03 * (architecture.encoder.family == "mobilenetv3_small_minimal")
    value *= 1 + OWN * _normal(architecture.key)
    if fidelity == "full":
        return 0.05 + 0.7 * value
    return value + {"epochs1": 0.05, "random-start": 0.02}.get(fidelity, 0.0)


def _normal(text):
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return float(np.random.default_rng(seed).standard_normal())


def training(architecture, fidelity="proxy", seed=0):
    """One record, with noise by seed."""
    epochs = sum(recipe.epochs for recipe in FIDELITIES[fidelity].recipes())
    # one epoch is a poor guide
    noise = NOISE * (4 if fidelity == "epochs1" else 1)
    final = true_si_rmse(architecture, fidelity) * (
        1 + noise * _normal(f"{architecture.key}{fidelity}{seed}")
    )
    curve = [final * (1 + 0.3 * (1 - (epoch + 1) / epochs)) for epoch in range(epochs)]
    seconds = sum(kernel.macs for kernel in architecture_kernels(architecture)) / 1e7
    return TrainingRecord(
        architecture,
        fidelity,
        seed,
        "trained",
        architecture.encoder.family == "efficientnet_lite0" and fidelity != "random-start",
        "formula",
        tuple(round(one, 5) for one in curve),
        tuple(round(one + 0.05, 5) for one in curve),
        (round(seconds, 2),) * epochs,
        (),
        "a machine",
        1,
        "abc",
    )


def records_of(trainings):
    names = {one.fidelity for one in trainings}
    return Records(
        ArchiveCard(
            date=date(2026, 1, 1),
            fit_images=1,
            held_out_images=1,
            recipes={
                name: [one.model_dump(mode="json") for one in FIDELITIES[name].recipes()] for name in names
            },
            machines={"a machine": len(trainings)},
            records=counted(trainings),
            plan=RecordPlan(
                space="quick 0",
                data="formula",
                data_fingerprint="0",
                table=f"{TABLE} 0",
                seed=0,
                architectures=(),
                latency_ms=(),
                second_seeds=0,
                fully=0,
                fully_twice=0,
                compared=0,
                random_starts=0,
            ),
        ),
        tuple(trainings),
    )


def drawn_architectures():
    """200 architectures of the quick space."""
    rng, space = random.Random(0), SearchSpace.load("quick")
    return list(dict.fromkeys(space.sample(rng) for _ in range(400)))[:200]


def quick_records():
    """Records of the first 60 of them: some with a second seed, some trained in other ways."""
    known = drawn_architectures()[:60]
    trainings = [training(one) for one in known]
    trainings += [training(one, seed=1) for one in known[:20]]
    trainings += [training(one, name) for name in ("full", "epochs1", "epochs2") for one in known[:24]]
    trainings += [training(one, "full", 1) for one in known[:8]]
    with_weights = [one for one in known if one.encoder.family == "efficientnet_lite0"]
    return records_of([*trainings, *(training(one, "random-start") for one in with_weights)])
