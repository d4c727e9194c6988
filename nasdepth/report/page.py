"""One self-contained HTML page about one or several runs."""

from __future__ import annotations

import base64
import datetime
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from PIL import Image
from plotly.offline import get_plotlyjs

from nasdepth.data import DepthSplit, open_split
from nasdepth.errors import NasdepthError, UnknownKernelError
from nasdepth.files import write_text
from nasdepth.latency import architecture_kernels
from nasdepth.report.charts import curves_chart, front_chart, importances_chart, kernels_chart
from nasdepth.report.comparison import Network, compare, retrained_in
from nasdepth.report.diagram import block_diagram
from nasdepth.report.terminal import table_words
from nasdepth.searching import Settings, TrialRecord
from nasdepth.searching.finished import FinishedRun
from nasdepth.searching.survey import layers_of

_SHOWN_NETWORKS = 3
_STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;
margin:0 auto;max-width:1180px;padding:0 16px}
h1{font-size:1.7rem;margin:1.2rem 0 .2rem}h2{font-size:1.35rem;margin:2.2rem 0 .4rem;
border-top:2px solid #ddd;
padding-top:1.2rem;overflow-wrap:anywhere}h3{font-size:1.08rem;margin:1.6rem 0 .3rem}
p{margin:.4rem 0;max-width:80ch}.muted{color:#555}.warn{background:#fff4e0;border-left:4px solid #e08a00;
padding:.5rem .8rem}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
td,th{white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td:last-child:not(.n):not(:first-child){white-space:normal;
overflow-wrap:anywhere;min-width:22rem}
.chart{max-width:100%;overflow:hidden}
code,pre{font:13px/1.5 ui-monospace,monospace}
code{overflow-wrap:anywhere}pre{background:#f5f5f5;padding:.7rem;overflow-x:auto;white-space:pre-wrap;
overflow-wrap:anywhere}.diagram{width:100%;max-width:560px;height:auto}.figure img{height:204px;width:auto;
max-width:none;display:block}details{margin:.6rem 0}summary{cursor:pointer}
"""
# a chart is drawn before the browser knows how wide the page is
_FITTING = (
    "addEventListener('load',()=>document.querySelectorAll('.js-plotly-plot')"
    ".forEach(one=>Plotly.Plots.resize(one)))"
)
_CHART = {"responsive": True, "displayModeBar": False}


def write_page(
    runs: Mapping[str, FinishedRun],
    path: str | Path,
    *,
    retrained: Mapping[str, Path] | None = None,
    images: int = 4,
) -> list[str]:
    """Write one HTML page that needs no network and no other file.

    Args:
        runs: what to show, by name.
        path: the file.
        retrained: folder of each run's retrained networks, by the same names; `retrain` in the run's folder
            where it is not given.
        images: test photographs to compare networks on; 0 for none.

    Returns:
        What could not be shown, and why.

    Raises:
        NasdepthError: the file cannot be written.
    """
    missing: list[str] = []
    parts = [_head(runs)]
    if len(runs) > 1:
        parts += ["<h2>All runs</h2>", _overview(runs), _figure(front_chart(runs)), _comparability(runs)]
    for name, found in runs.items():
        folder = (retrained or {}).get(name, found.run.folder / "retrain")
        section = _Section(name, found, folder, images, alone=len(runs) == 1)
        parts += section.parts()
        missing += [f"{name}: {words}" for words in section.missing]
    title = "nasdepth: " + ", ".join(runs)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>"
        + "\n".join(parts)
        + f"<script>{_FITTING}</script></body></html>\n"
    )
    write_text(path, page)
    return missing


class _Section:
    """One run on the page."""

    def __init__(self, name: str, found: FinishedRun, retrained: Path, images: int, alone: bool) -> None:
        self.name, self.found, self.retrained, self.images, self.alone = name, found, retrained, images, alone
        self.missing: list[str] = []

    def parts(self) -> list[str]:
        settings = self.found.run.settings
        parts = [
            f"<h2>{escape(self.name)}</h2>",
            f"<p class=muted>{escape(_what(settings))}; {self.found.spent} candidates trained.</p>",
            *self._winner(),
        ]
        if self.alone:
            parts += ["<h3>Pareto front</h3>", _figure(front_chart({self.name: self.found}))]
        parts += ["<h3>Best trials</h3>", _trials(self.found.pareto_front, self.found.best)]
        if self.found.named_designs:
            parts += ["<h3>Named designs under the same proxy</h3>", _trials(self.found.named_designs)]
        parts += ["<h3>Learning curves</h3>", _figure(curves_chart(self.found))]
        chart, words = importances_chart(self.found)
        parts += ["<h3>What mattered</h3>", f"<p>{escape(words)}</p>", *([_figure(chart)] if chart else [])]
        parts += self._pictures()
        parts += self._latency()
        parts += ["<h3>Commands</h3>", f"<pre>{escape(self._commands())}</pre>"]
        return parts

    def _winner(self) -> list[str]:
        top = self.found.best
        if top is None:
            self.missing.append("no trial was trained to the end, so there is no winner")
            return ["<p class=warn>No trial was trained to the end yet.</p>"]
        parts = [f"<h3>Winner: {escape(top.name or f'trial {top.number}')}</h3>", _trials([top])]
        if not top.useful:
            parts.append(
                "<p class=warn>It is no better than the mean depth map, which looks at no image: do not use "
                "it. Search longer, or with more data or epochs.</p>"
            )
        parts.append(f"<p><code>{escape(str(top.architecture))}</code></p>")
        try:
            layers = layers_of(top.architecture)
            parts.append(block_diagram(top.architecture, layers))
            parts.append(
                f"<p class=muted>{sum(one.parameters for one in layers) / 1e6:.3f} M parameters, "
                f"{sum(one.mmacs for one in layers):.1f} MMAC. Channels x height x width at the right.</p>"
            )
            predictor = self.found.run.predictor
            estimate = predictor.estimate(architecture_kernels(top.architecture, predictor.runtime))
            parts += ["<h3>Where its time goes</h3>", _figure(kernels_chart(estimate))]
        except (UnknownKernelError, NasdepthError) as error:
            self.missing.append(f"time of the winner's layers ({error})")
        return parts

    def _pictures(self) -> list[str]:
        parts = ["<h3>Photographs, truth and networks</h3>"]
        networks = retrained_in(self.retrained)
        if not networks:
            words = f"no network was retrained yet in {self.retrained}"
            self.missing.append(words)
            return [*parts, f"<p>{escape(words)}: <code>nasdepth retrain --run {self._folder}</code></p>"]
        parts.append(_networks(networks))
        if not self.images:
            return parts
        data = self.found.run.settings.data
        try:
            split = open_split(data, "test")
            if not isinstance(split, DepthSplit):
                raise NasdepthError(f"{data} has no metric depth")
            sheets = compare(networks[:_SHOWN_NETWORKS], split, self.images)
        except NasdepthError as error:
            self.missing.append(f"pictures ({error})")
            return [*parts, f"<p class=warn>No pictures: {escape(str(error))}</p>"]
        parts.append("<p class=muted>Each row has one scale for all of its depths.</p>")
        parts += [_image(sheet, f"{image_id}: photograph, truth, networks") for image_id, sheet in sheets]
        return parts

    def _latency(self) -> list[str]:
        try:
            table = self.found.run.table
        except NasdepthError as error:
            self.missing.append(f"device card ({error})")
            return [f"<h3>Device</h3><p class=warn>{escape(str(error))}</p>"]
        card = table.card
        facts = {
            name: getattr(card, name)
            for name in ("device", "soc", "gpu", "architecture", "cores", "threads", "runtime",
                         "runtime_version", "delegate", "os", "governor", "date", "kind")
        }  # fmt: skip
        trust = f"Latencies are estimated by {table_words(table)}."
        if card.kind == "calibrated":
            trust += " Nobody measured the networks there: take this as a guide, and measure the winner."
        measured = sum(one.latency_source == "measured" for one in self.found.records)
        trust += (
            f" {measured or 'None'} of the candidates {'was' if measured == 1 else 'were'} measured there."
        )
        parts = [
            "<h3>Device, and how far to trust the latency</h3>",
            f"<p>{escape(trust)}</p>",
            _facts(facts),
        ]
        if checked := table.validation:
            figures = {
                name: value for name, value in checked.model_dump(mode="json").items() if value is not None
            }
            parts += [
                "<details><summary>How the table was checked</summary>",
                _facts({name.replace("_", " "): value for name, value in figures.items()}),
                "</details>",
            ]
        return parts

    @property
    def _folder(self) -> str:
        return shlex.quote(str(self.found.run.folder))

    def _commands(self) -> str:
        lines = [
            search_command(self.found.run.settings, self.found.spent),
            f"nasdepth retrain --run {self._folder}",
        ]
        networks = retrained_in(self.retrained)
        model = shlex.quote(str(networks[0].model)) if networks else "MODEL.tflite"
        lines += [
            f"nasdepth predict {model} PHOTO --out pictures",
            f"nasdepth report {self._folder} --out report.html",
        ]
        return "\n".join(lines)


def search_command(settings: Settings, budget: int) -> str:
    """The command that repeats a search: what is not a default is said."""
    flags = {
        "space": "--space", "data": "--data", "table": "--table", "objective": "--objective",
        "max_latency_ms": "--max-latency-ms", "device": "--device", "unsure_percent": "--unsure-percent",
        "measure_top": "--measure-top", "sampler": "--sampler", "seed": "--seed", "pruner": "--pruner",
        "confirm_top": "--confirm-top", "confirm_epochs": "--confirm-epochs",
    }  # fmt: skip
    words = ["nasdepth", "search", "--budget", str(budget)]
    for name, flag in flags.items():
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            words += [flag, str(value)]
    for flag, values in (
        ("--from", settings.from_runs), ("--rung", settings.rungs), ("--family", settings.families or ())
    ):  # fmt: skip
        for value in values:
            words += [flag, str(value)]
    if settings.measure_when_unsure:
        words.append("--measure-when-unsure")
    if settings.proxy.epochs != Settings().proxy.epochs:
        words += ["--epochs", str(settings.proxy.epochs)]
    return shlex.join(words)


def _what(settings: Settings) -> str:
    limit = f", at most {settings.max_latency_ms:g} ms" if settings.max_latency_ms else ""
    return (
        f"Space {settings.space}, data {settings.data}, latencies of {settings.table}, objective "
        f"{settings.objective}{limit}, sampler {settings.sampler}, seed {settings.seed}"
    )


def _head(runs: Mapping[str, FinishedRun]) -> str:
    return (
        f"<h1>Search for depth networks</h1><p class=muted>{len(runs)} run{'s' if len(runs) > 1 else ''}; "
        f"written {datetime.date.today()} by nasdepth.</p>"
        "<p>si-RMSE is the scale-invariant error of the logarithm of depth, 0 being perfect. The score is "
        "2^(-20 si-RMSE) / (1.5625e-6 x ms): 0.05 less si-RMSE is worth half the time.</p>"
    )


def _overview(runs: Mapping[str, FinishedRun]) -> str:
    rows = []
    for name, found in runs.items():
        top, settings = found.best, found.run.settings
        rows.append(
            [name, settings.data, settings.table, settings.sampler, found.spent]
            + (
                [_number(top.score, 1), _number(top.si_rmse, 4), _latency_words(top), str(top.architecture)]
                if top
                else ["", "", "", "none yet"]
            )
        )
    headings = ["run", "data", "table", "sampler", "trained", "score", "si-RMSE", "ms", "winner"]
    return _table(headings, rows, numbers=(4, 5, 6, 7))


def _comparability(runs: Mapping[str, FinishedRun]) -> str:
    settings = [one.run.settings for one in runs.values()]
    unlike = [
        what
        for what, values in (
            ("data", {one.data for one in settings}),
            ("proxy training", {one.proxy.fingerprint for one in settings}),
            ("latency table", {one.table for one in settings}),
        )
        if len(values) > 1
    ]
    if not unlike:
        return "<p class=muted>All runs have the same data, proxy training and latency table.</p>"
    return (
        f"<p class=warn>These runs differ in {' and '.join(unlike)}: their figures are not of one kind, so "
        "do not call one better than another by them.</p>"
    )


def _trials(records: Sequence[TrialRecord], star: TrialRecord | None = None) -> str:
    rows = [
        [
            f"{'★ ' if star and one.number == star.number else ''}{one.number}",
            _number(one.score, 1),
            _number(one.si_rmse, 4),
            _number(one.confirmed_si_rmse, 4),
            _latency_words(one),
            f"{one.name}: {one.architecture}" if one.name else str(one.architecture),
        ]
        for one in records
    ]
    headings = ["trial", "score", "si-RMSE", "trained again", "ms", "architecture"]
    return _table(headings, rows, numbers=(0, 1, 2, 3, 4))


def _networks(networks: Sequence[Network]) -> str:
    rows = [
        [
            one.name,
            _number(one.row.get("score"), 1),
            _number(one.row.get("estimated_score"), 1),
            _number(one.row.get("si_rmse"), 4),
            _number(one.row.get("rmse_m"), 3),
            _number(one.row.get("measured_latency_ms"), 3),
            _number(one.row.get("estimated_latency_ms"), 3),
            f"{one.model.stat().st_size / 1e6:.2f}",
        ]
        for one in networks
    ]
    headings = ["network", "score", "score (est.)", "si-RMSE", "RMSE m", "measured ms", "ms (est.)", "MB"]
    return _table(headings, rows, numbers=tuple(range(1, 8)))


def _latency_words(record: TrialRecord) -> str:
    mark = "~" if record.latency_source == "estimate" else ""
    return "" if record.latency_ms is None else f"{mark}{record.latency_ms:.3f}"


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else ""


def _facts(facts: Mapping[str, Any]) -> str:
    return _table(None, [[name, str(value)] for name, value in facts.items() if value not in ("", None)])


def _table(
    headings: Sequence[str] | None, rows: Iterable[Sequence[object]], numbers: tuple[int, ...] = ()
) -> str:
    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{' class=n' if column in numbers else ''}>{escape(str(value))}</{tag}>"
            for column, value in enumerate(row)
        )

    head = f"<tr>{cells('th', headings)}</tr>" if headings else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<div class=wide><table>{head}{body}</table></div>"


def _figure(figure: go.Figure) -> str:
    return f"<div class=chart>{figure.to_html(full_html=False, include_plotlyjs=False, config=_CHART)}</div>"


def _image(picture: Image.Image, words: str) -> str:
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=88)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<div class="wide figure"><img src="data:image/jpeg;base64,{data}" alt="{escape(words)}"></div>'
