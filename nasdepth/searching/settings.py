"""What a search was asked to do, as its run folder and its study keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from nasdepth.data import DepthSplit, absolute_source
from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.errors import SEEDS, StudyError, brief
from nasdepth.files import whole_path
from nasdepth.searching.founding import STUDY_NAME
from nasdepth.searching.goals import DEFAULT_GOAL, Goal, parse_goal
from nasdepth.searching.sampling import DEFAULT_SAMPLER
from nasdepth.searching.storage import HEARTBEAT_S, absolute_url, shown
from nasdepth.training import Recipe, load_recipe


class SearchOptions(TypedDict, total=False):
    """What `nasdepth.search` takes by name beside `data`; see `Settings` for what each one means."""

    space: str
    table: str
    precision: Literal["float32", "int8", "auto"]
    objective: str
    max_latency_ms: float | None
    device: str | None
    measure_when_unsure: bool
    unsure_percent: float
    measure_top: int
    sampler: str
    from_runs: tuple[str, ...]
    families: tuple[str, ...] | None
    pretrained_only: bool
    seed: int
    confirm_top: int
    confirm_epochs: int
    rungs: tuple[int, ...]
    continued: bool
    pruner: str
    storage: str | None
    study_name: str
    heartbeat_s: int
    proxy: Recipe


class Settings(BaseModel):
    """What a search was asked to do; a resume reads it back.

    Names of what ships stay names; other sources become absolute, since a resume may come from another
    folder.

    Attributes:
        space: search space, a YAML file or the name of one that ships.
        data: RGB and depth images, see `nasdepth.data.load_split`.
        table: latency table or device pack, a file or the name of one that ships.
        objective: what makes one network better than another: `score`, `quality`, `pareto` or a registered
            one, see `nasdepth.searching.goals`.
        precision: of the deployed files whose latency counts; `auto` takes the faster of float32 and int8 for
            each architecture. What is trained does not depend on it.
        max_latency_ms: no candidate is trained that is predicted to be slower.
        device: URI to measure candidates on; None is this machine where the table was made on its like.
        measure_when_unsure: measure a candidate before its training when its interval is wider than
            `unsure_percent` of the estimate to either side.
        measure_top: how many of the best are measured before a winner is named; 0 for none.
        confirm_top: how many of the best are trained once more, from another seed, before a winner is named;
            0 for none.
        confirm_epochs: epochs of that second training.
        rungs: epochs after which a candidate is judged, beside the proxy recipe's own; see `ProxyObjective`.
        continued: whether a rung goes on from the weights of the one before it.
        pruner: which rule ends a training early, see `nasdepth.searching.pruning`.
        sampler: what decides on the next candidate; one of `nasdepth.searching.sampling.SAMPLERS`.
        from_runs: folders of other runs on the same data whose trainings count as known.
        seed: random seed of the sampler and of every training.
        proxy: recipe of the short training that judges candidates.
        families: encoder families of the space that are searched; None for all.
        pretrained_only: only families whose ImageNet weights were at hand when the run began. `families` then
            names them.
        storage: URL; written without its password. None is SQLite in the folder.
        study_name: of the study in that storage, which may hold many.
        heartbeat_s: seconds between two signs of life of a worker; one that gives none is given up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    space: str = "depth"
    data: str = "scenes"
    table: str = DEFAULT_TABLE
    precision: Literal["float32", "int8", "auto"] = "float32"
    objective: str = DEFAULT_GOAL
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    device: str | None = None
    measure_when_unsure: bool = False
    unsure_percent: Annotated[float, Field(gt=0)] = 20.0
    measure_top: Annotated[int, Field(ge=0)] = 3
    sampler: str = DEFAULT_SAMPLER
    from_runs: tuple[str, ...] = ()
    families: tuple[str, ...] | None = None
    pretrained_only: bool = False
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    confirm_top: Annotated[int, Field(ge=0)] = 5
    confirm_epochs: Annotated[int, Field(ge=1)] = 12
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    continued: bool = True
    pruner: str = "median"
    storage: Annotated[str | None, Field(repr=False)] = None
    study_name: Annotated[str, Field(min_length=1, max_length=512)] = STUDY_NAME
    heartbeat_s: Annotated[int, Field(ge=1)] = HEARTBEAT_S
    proxy: Recipe = Field(default_factory=lambda: load_recipe("proxy"))

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Settings from options by name.

        Raises:
            StudyError: an option is unknown, or its value is not allowed; the message names both.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise StudyError(f"`{name}` is {brief(first['input'])}: {first['msg']}") from error

    def changed(self, **options: Any) -> Self:
        """These settings with other values for some options.

        Raises:
            StudyError: see `of`.
        """
        return self.of(**{name: getattr(self, name) for name in type(self).model_fields} | options)

    @field_validator("space", "table")
    @classmethod
    def _absolute_file(cls, source: str) -> str:
        # a table's `.csv` stands for its `.csv.gz` too
        there = Path(source).is_file() or Path(f"{source}.gz").is_file()
        return str(whole_path(source)) if there else source

    @field_validator("objective")
    @classmethod
    def _known_goal(cls, text: str) -> str:
        parse_goal(text)
        return text

    @property
    def goal(self) -> Goal:
        """What `objective` means."""
        return parse_goal(self.objective)

    @field_validator("data")
    @classmethod
    def _absolute_folder(cls, source: str) -> str:
        return absolute_source(source)

    @field_validator("from_runs")
    @classmethod
    def _absolute_runs(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(whole_path(one)) for one in folders)

    @field_validator("storage")
    @classmethod
    def _absolute_storage(cls, url: str | None) -> str | None:
        return url and absolute_url(url)

    @field_serializer("storage")
    def _without_password(self, storage: str | None) -> str | None:
        return storage and shown(storage)

    @property
    def whole_rungs(self) -> tuple[int, ...]:
        """Rungs that end with the proxy recipe's epochs."""
        return (*sorted({one for one in self.rungs if one < self.proxy.epochs}), self.proxy.epochs)

    def training_identity(self, split: DepthSplit) -> dict[str, str]:
        """What must be equal for the si-RMSE of two trainings to be comparable."""
        return {
            "data set": split.fingerprint,
            "proxy recipe": self.proxy.fingerprint,
            "rungs": f"{self.whole_rungs}{'' if self.continued else ' from the start'}",
            "seed": str(self.seed),
        }
