"""What a search was asked to do, as its run folder and its study keep it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from nasdepth.data import DepthSplit
from nasdepth.search.founding import STUDY_NAME
from nasdepth.search.sampling import DEFAULT_SAMPLER
from nasdepth.search.storage import HEARTBEAT_S, shown
from nasdepth.training import Recipe, load_recipe


class Settings(BaseModel):
    """What a search was asked to do; a resume reads it back.

    Attributes:
        device: URI to measure candidates on; None is this machine where the table was made on its like.
        measure_when_unsure: measure a candidate before its training when its interval is wider than
            `unsure_percent` of the estimate to either side.
        measure_top: how many of the best are measured before a winner is named; 0 for none.
        confirm_top: how many of the best are trained once more, from another seed, before a winner is named;
            0 for none.
        confirm_epochs: epochs of that second training.
        rungs: epochs after which a candidate is judged, beside the proxy recipe's own; see `ProxyObjective`.
        continued: whether a rung goes on from the weights of the one before it.
        pruner: which rule ends a training early, see `nasdepth.search.pruning`.
        sampler: what decides on the next candidate; one of `nasdepth.search.sampling.SAMPLERS`.
        from_runs: folders of other runs on the same data whose trainings count as known.
        families: encoder families of the space that are searched; None for all.
        pretrained_only: only families whose ImageNet weights were at hand when the run began. `families` then
            names them.
        storage: URL; written without its password. None is SQLite in the folder.
        study_name: of the study in that storage, which may hold many.
        heartbeat_s: seconds between two signs of life of a worker; one that gives none is given up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str = "depth"
    data: str = "scenes"
    table: str
    objective: Literal["score", "pareto"] = "score"
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    device: str | None = None
    measure_when_unsure: bool = False
    unsure_percent: Annotated[float, Field(gt=0)] = 20.0
    measure_top: Annotated[int, Field(ge=0)] = 3
    sampler: str = DEFAULT_SAMPLER
    from_runs: tuple[str, ...] = ()
    families: tuple[str, ...] | None = None
    pretrained_only: bool = False
    seed: int = 0
    confirm_top: Annotated[int, Field(ge=0)] = 5
    confirm_epochs: Annotated[int, Field(ge=1)] = 12
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    continued: bool = True
    pruner: str = "median"
    storage: Annotated[str | None, Field(repr=False)] = None
    study_name: Annotated[str, Field(min_length=1, max_length=512)] = STUDY_NAME
    heartbeat_s: Annotated[int, Field(ge=1)] = HEARTBEAT_S
    proxy: Recipe = Field(default_factory=lambda: load_recipe("proxy"))

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
