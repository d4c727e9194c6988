"""How far the GPU packs are off, on published models that they were not fitted to.

python benchmarks/gpu_pack_accuracy.py [--data ../shared/data/published_latency] [--device NAME] [--families]
python benchmarks/gpu_pack_accuracy.py --as-shipped --operations OPS.csv --models MODELS.csv

The first form fits anew, ten times for ten folds of the models (and once for every family left out):
operations and the step to networks alike know nothing of the models they are tested on. The second takes the
packs as they ship, for files of models that they were not fitted to.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nasdepth.latency.accuracy import summarise
from nasdepth.packs import load_table
from nasdepth.packs.gpu.delegate import load_delegate
from nasdepth.packs.gpu.prior import gpu_priors
from nasdepth.packs.gpu.published_families import names_by_family
from nasdepth.packs.gpu.validation import Held, check_pack, folds, left_out
from nasdepth.packs.published_operations import read_end_to_end, read_models

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "published_latency"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=_DATA)
    parser.add_argument("--operations", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--device", choices=tuple(gpu_priors()))
    parser.add_argument("--families", action="store_true")
    parser.add_argument("--as-shipped", action="store_true")
    arguments = parser.parse_args()
    models = read_models(arguments.operations or arguments.data / "gpu_delegate_ops.csv")
    latencies = read_end_to_end(arguments.models or arguments.data / "gpu_delegate_models.csv")
    for name, prior in gpu_priors().items():
        if arguments.device not in (None, name):
            continue
        pack = f"{name.replace('_', '-')}-gpu"
        if arguments.as_shipped:
            _print(pack, "as shipped", check_pack(load_table(pack), models, latencies, name))
            continue
        delegate = load_delegate(prior.family)
        ten = left_out(models, latencies, name, delegate, folds(list(models)))
        _print(pack, "ten folds", Held.joined(ten))
        alike = names_by_family(list(models))
        by_family = left_out(models, latencies, name, delegate, list(alike.values()))
        _print(pack, "family left out", Held.joined(by_family))
        if arguments.families:
            for family, held in zip(alike, by_family, strict=True):
                _print(pack, f"  {family}", held)


def _print(pack: str, what: str, held: Held) -> None:
    agreed = held.agreement()
    line = (
        f"{pack:20} {what:26} operations {agreed.operations:5} within 20 % {agreed.within_20_percent:5.1f} % "
        f"(10 %: {agreed.within_10_percent:5.1f} %), kernel chosen {agreed.kernel_choice_percent:5.1f} %"
    )
    if held.networks:
        ours = summarise(held.networks)
        width = np.mean(
            [(one.interval_90[1] - one.interval_90[0]) / one.latency_ms / 2 for one in held.networks]
        )
        line += (
            f" | models {ours.models:3} MAPE {ours.mape_percent:5.2f} % bias {ours.bias_percent:+5.2f} % "
            f"within 10 % {ours.within_10_percent:5.1f} % Spearman {ours.spearman:.4f} covered "
            f"{ours.interval_90_coverage_percent:5.1f} % of ± {width:.0%}"
        )
    print(line, flush=True)


if __name__ == "__main__":
    main()
