"""How near a table's predictions come to whole networks, beside simpler predictors on the same measurements.

    python benchmarks/latency_accuracy.py --table x86-64-xnnpack-1t --sample 100 [third-party.tflite ...]

Draws architectures that neither the table nor its calibration saw, exports and measures them (about four
seconds each), and prints one row a predictor:

- ours: `TablePredictor`;
- plain sum: the same table and regression, added up without calibration;
- random forest: one forest a kind of kernel on nn-Meter's features (height, width, channels in and out,
  kernel, stride, FLOPs, parameters), trained on the same table, added up; and the same times one factor;
- FLOPs-linear: latency = a * MAC + b.

What a baseline has to fit to whole networks (factor, a, b) is fitted to the very networks it is judged on,
leaving one out at a time: more than it would have in use. Needs the `dev` extra (scikit-learn).
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from rich.progress import Progress
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

from nasdepth.cli.console import notes, out
from nasdepth.devices import open_device
from nasdepth.latency import Kernel, LatencyTable, TablePredictor
from nasdepth.latency.measure import Checked, validate_table
from nasdepth.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", help=".tflite files of other makers")
    parser.add_argument("--table", default="x86-64-xnnpack-1t")
    parser.add_argument("--device", default="local")
    parser.add_argument("--space", default="depth")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5000)
    args = parser.parse_args()

    table = LatencyTable.load(args.table)
    device = open_device(args.device, table.card.threads)
    with Progress(console=notes, transient=True) as bar, tempfile.TemporaryDirectory() as cache:
        task = bar.add_task("measuring", total=None)
        report = validate_table(
            table,
            device,
            cache,
            space=SearchSpace.load(args.space),
            sample=args.sample,
            models=args.models,
            seed=args.seed,
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )
    ours = [one for one in report.checked if one.guess.name not in args.models]
    theirs = [one for one in report.checked if one.guess.name in args.models]
    card = table.card
    out.print(
        f"{table.name}, {card.soc}, {card.runtime} {card.runtime_version}, {card.threads} threads; reference "
        f"networks at {report.validation.drift:.3f} of their times in the table (median)"
    )
    out.print(_rows(f"{len(ours)} architectures of {args.space}", table, ours))
    if theirs:
        out.print(_rows(f"{len(theirs)} .tflite files of other makers", table, theirs))
        for one in theirs:
            low, high = one.estimate.interval_90
            out.print(
                f"{one.guess.name}: {one.guess.measured_ms:.3f} ms measured, {one.estimate.latency_ms:.3f} "
                f"({low:.3f} to {high:.3f}) predicted, {one.guess.error:+.1%}"
            )
    for name, why in report.refused.items():
        out.print(f"no answer: {name}: {why}")


def _rows(title: str, table: LatencyTable, checked: Sequence[Checked]) -> Table:
    measured = np.array([one.guess.measured_ms for one in checked])
    networks = [[kernel for kernel, _, _ in one.estimate.kernels] for one in checked]
    plain = TablePredictor(table.with_card(calibration=None))
    forest = _forest(table)
    forests = np.array([table.card.overhead_ms + sum(map(forest, network)) for network in networks])
    macs = np.array([sum(kernel.macs for kernel in network) for network in networks], float)
    predictions = {
        "ours": np.array([one.estimate.latency_ms for one in checked]),
        "plain sum of kernels": np.array([plain.estimate(network).latency_ms for network in networks]),
        "random forest a kind": forests,
        "random forest, one factor": forests
        * _left_out(lambda rest: np.median((measured / forests)[rest]), measured),
        "FLOPs-linear": _linear(macs, measured),
    }
    rows = Table(title=title, title_justify="left")
    for heading in (
        "predictor",
        "±5 %",
        "±10 %",
        "±15 %",
        "MAPE",
        "bias",
        "Spearman",
        "in the 90 % interval",
    ):
        rows.add_column(heading, justify="left" if heading == "predictor" else "right")
    for name, predicted in predictions.items():
        errors = predicted / measured - 1
        within = [f"{np.mean(np.abs(errors) <= limit):.0%}" for limit in (0.05, 0.10, 0.15)]
        rank = spearmanr(predicted, measured).statistic
        inside = f"{np.mean([one.guess.inside for one in checked]):.0%}" if name == "ours" else ""
        rows.add_row(
            name, *within, f"{np.abs(errors).mean():.1%}", f"{errors.mean():+.1%}", f"{rank:.3f}", inside
        )
    return rows


def _left_out(fit: Callable[[np.ndarray], float], measured: np.ndarray) -> np.ndarray:
    indices = np.arange(len(measured))
    return np.array([fit(indices != index) for index in indices])


def _linear(macs: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Relative least squares of a and b, leaving one out."""
    design = np.column_stack([macs, np.ones_like(macs)])
    guesses = np.empty_like(measured)
    for index in range(len(measured)):
        rest = np.arange(len(measured)) != index
        rows = design[rest] / measured[rest, None]
        guesses[index] = design[index] @ np.linalg.lstsq(rows, np.ones(rest.sum()))[0]
    return guesses


def _forest(table: LatencyTable) -> Callable[[Kernel], float]:
    """nn-Meter's predictor: a random forest a kind, the measured time never looked up."""
    kinds: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in table.timings:
        kinds[kernel.kind].append(kernel)
    models = {}
    for kind, kernels in kinds.items():
        models[kind] = RandomForestRegressor(100, random_state=0, n_jobs=-1).fit(
            [_features(kernel) for kernel in kernels],
            [table.timings[kernel].latency_ms for kernel in kernels],
        )
        models[kind].set_params(n_jobs=1)  # one kernel at a time: handing it to threads takes longer
    answers: dict[Kernel, float] = {}

    def predict(kernel: Kernel) -> float:
        if kernel not in answers:
            answers[kernel] = float(models[kernel.kind].predict([_features(kernel)])[0])
        return answers[kernel]

    return predict


def _features(kernel: Kernel) -> list[float]:
    return [
        kernel.in_height,
        kernel.in_width,
        kernel.in_channels + sum(kernel.other_channels),
        kernel.out_channels,
        kernel.out_height,
        kernel.kernel_height,
        kernel.stride_height,
        2 * kernel.macs,
        kernel.weight_bytes / 4,
    ]


if __name__ == "__main__":
    main()
