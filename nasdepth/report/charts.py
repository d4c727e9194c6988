"""Interactive charts of runs, by Plotly."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence

import optuna
import plotly.graph_objects as go

from nasdepth.latency import LatencyEstimate
from nasdepth.searching import Outcome, TrialRecord
from nasdepth.searching.finished import FinishedRun
from nasdepth.searching.records import WHOLE

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
_SHOWN_CURVES = 12
_SHOWN_KERNELS = 24
# of the whole time
_LEAST_SHARE = 0.003
_FEW_TRIALS = 50


def front_chart(runs: Mapping[str, FinishedRun]) -> go.Figure:
    """si-RMSE over latency: trials, Pareto front, named designs and winner of every run."""
    figure = go.Figure()
    estimated = False
    seen: list[float] = []
    for (name, found), color in zip(runs.items(), _cycled(len(runs)), strict=False):
        front = found.pareto_front
        trained = [one for one in found.records if one.outcome in WHOLE]
        pruned = [one for one in found.records if one.outcome is Outcome.PRUNED and one.si_rmse is not None]
        estimated |= any(one.latency_source == "estimate" for one in trained)
        group = {"legendgroup": name, "legendgrouptitle_text": name} if len(runs) > 1 else {}
        seen += [one.reached[0] for one in trained]
        figure.add_trace(_dots(pruned, "pruned early", "lightgray", "x-thin", 6, group, line_color="gray"))
        figure.add_trace(_dots(trained, "trained", color, "circle", 8, group))
        figure.add_trace(
            go.Scatter(
                x=[one.known_latency_ms for one in front],
                y=[one.reached[0] for one in front],
                mode="lines",
                line={"color": color, "shape": "hv"},
                name="Pareto front",
                hoverinfo="skip",
                **group,
            )
        )
        designs = [one for one in trained if one.name]
        figure.add_trace(
            _dots(designs, "named designs", color, "diamond", 10, group, text=[one.name for one in designs])
        )
        if found.best is not None:
            figure.add_trace(_dots([found.best], "winner", color, "star", 18, group, line_color="black"))
    unit = "latency in ms" + (" (hollow: estimated)" if estimated else "")
    figure.update_xaxes(type="log", title=unit, dtick="D2")
    figure.update_yaxes(title="si-RMSE under the proxy", range=_sensible_range(seen))
    return _laid_out(figure, 560)


def curves_chart(found: FinishedRun) -> go.Figure:
    """si-RMSE after every epoch of the proxy trainings: the best candidates and the named designs."""
    records = [one for one in found.records if one.curve and one.outcome in WHOLE]
    records = sorted(records, key=lambda one: -(one.score or 0.0))
    shown = [one for index, one in enumerate(records) if index < _SHOWN_CURVES or one.name]
    figure = go.Figure()
    for record, color in zip(shown, _cycled(len(shown)), strict=False):
        figure.add_trace(
            go.Scatter(
                x=list(range(1, len(record.curve) + 1)),
                y=list(record.curve),
                mode="lines+markers",
                line={"color": color},
                name=record.name or f"trial {record.number}",
                hovertemplate=f"{_described(record)}<br>epoch %{{x}}: si-RMSE %{{y:.4f}}<extra></extra>",
            )
        )
    figure.update_xaxes(title="epoch of the proxy training", dtick=1)
    figure.update_yaxes(title="si-RMSE, held-out training images")
    return _laid_out(figure, 460)


def kernels_chart(estimate: LatencyEstimate) -> go.Figure:
    """Estimated time of a network's kernels in the order in which they run; small ones are put together."""
    kernels = list(estimate.kernels)
    slowest = sorted((one[1] for one in kernels), reverse=True)[:_SHOWN_KERNELS]
    least = max([*slowest[-1:], _LEAST_SHARE * sum(one[1] for one in kernels)])
    shown = [(index, *one) for index, one in enumerate(kernels, 1) if one[1] >= least]
    rest_ms = sum(one[1] for one in kernels) - sum(one[2] for one in shown)
    labels = [f"{index}. {kernel.op}" for index, kernel, _, _ in shown]
    words = [f"{kernel}<br>{source}" for _, kernel, _, source in shown]
    times = [latency_ms for _, _, latency_ms, _ in shown]
    if len(shown) < len(kernels):
        labels.append(f"{len(kernels) - len(shown)} smaller ones")
        words.append("together")
        times.append(rest_ms)
    colors = ["#1f77b4" if word.endswith("measured") else "#9ecae1" for word in words]
    figure = go.Figure(
        go.Bar(
            x=times,
            y=labels,
            orientation="h",
            marker_color=colors,
            hovertext=words,
            hovertemplate="%{hovertext}<br>%{x:.4f} ms<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, automargin=True)
    figure.update_xaxes(title="estimated ms (dark: measured)")
    return _laid_out(figure, 140 + 18 * len(labels))


def importances_chart(found: FinishedRun) -> tuple[go.Figure | None, str]:
    """How much each choice matters, by Optuna's fANOVA, and words about it; None where it cannot be told.

    Source: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance",
    ICML 2014.
    """
    target = None
    if len(found.study.directions) > 1:
        target = lambda trial: trial.values[0]  # noqa: E731
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importances = optuna.importance.get_param_importances(
                found.study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), target=target
            )
    except ImportError:
        return None, "Importances need scikit-learn: pip install 'nasdepth[replay]'."
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        return None, f"Importances cannot be told from these trials ({error})."
    if not importances:
        return None, "Importances cannot be told: all trials agree in all choices."
    trials = len(found.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]))
    names, shares = list(importances), list(importances.values())
    figure = go.Figure(go.Bar(x=shares, y=names, orientation="h", marker_color=_COLORS[0]))
    figure.update_traces(hovertemplate="%{y}: %{x:.1%}<extra></extra>")
    figure.update_yaxes(autorange="reversed", automargin=True)
    what = "si-RMSE" if target else "the score"
    figure.update_xaxes(title=f"share of the variance of {what}", tickformat=".0%")
    few = " With so few trials this is a hint, no more." if trials < _FEW_TRIALS else ""
    return (
        _laid_out(figure, 120 + 26 * len(names)),
        f"fANOVA over {trials} trials and the choices that all architectures have.{few}",
    )


def _dots(
    records: Sequence[TrialRecord],
    label: str,
    color: str,
    symbol: str,
    size: int,
    group: dict,
    text: Sequence[str | None] | None = None,
    line_color: str | None = None,
) -> go.Scatter:
    hollow = symbol in ("circle", "diamond")
    by_latency = sorted(range(len(records)), key=lambda index: records[index].known_latency_ms)
    order = [by_latency.index(index) for index in range(len(records))]
    return go.Scatter(
        x=[one.known_latency_ms for one in records],
        y=[one.reached[0] for one in records],
        mode="markers+text" if text else "markers",
        text=list(text) if text else None,
        # neighbours stand above and below, so that their names do not meet
        textposition=[("top center", "bottom center", "middle right", "middle left")[i % 4] for i in order],
        textfont={"size": 10},
        marker={
            "symbol": [
                f"{symbol}-open" if hollow and one.latency_source == "estimate" else symbol for one in records
            ],
            "size": size,
            "color": color,
            "line": {"width": 1.5, "color": line_color or color},
        },
        name=label,
        hovertext=[_described(one) for one in records],
        hovertemplate="%{hovertext}<extra></extra>",
        **group,
    )


def _sensible_range(values: Sequence[float]) -> list[float] | None:
    """Ends of an axis that shows what matters: candidates far above the rest are left outside."""
    if not values:
        return None
    low, middle = min(values), statistics.median(values)
    high = min(max(values), middle + 3 * max(middle - low, 0.02))
    margin = 0.12 * max(high - low, 0.02)
    return [low - margin, high + margin]


def _described(record: TrialRecord) -> str:
    latency = "not known" if record.latency_ms is None else f"{record.latency_ms:.3f} ms"
    if record.latency_source == "estimate" and record.estimated_latency_low_ms is not None:
        latency += (
            f" (estimated, 90 % interval {record.estimated_latency_low_ms:.3f} to "
            f"{record.estimated_latency_high_ms:.3f})"
        )
    elif record.latency_source == "measured":
        latency += " (measured)"
    parts = [
        f"<b>trial {record.number}{f', {record.name}' if record.name else ''}</b>, {record.outcome}",
        f"score {record.score:.1f}, si-RMSE {record.si_rmse:.4f}" if record.score is not None else "",
        latency,
        "<br>".join(_folded(str(record.architecture))),
    ]
    if record.confirmed_si_rmse is not None:
        parts.insert(2, f"trained again: si-RMSE {record.confirmed_si_rmse:.4f}")
    return "<br>".join(filter(None, parts))


def _folded(architecture: str) -> list[str]:
    """Lines of an architecture's string that fit a narrow screen."""
    lines = [""]
    for part in architecture.split(","):
        if lines[-1] and len(lines[-1]) + len(part) > 44:
            lines.append("")
        lines[-1] += f",{part}" if lines[-1] or len(lines) > 1 else part
    return lines


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def _cycled(count: int) -> list[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(count)]
