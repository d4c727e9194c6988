"""The registered loss terms: which parameters each has, and what it takes from a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import nn

from nasdepth.config import later
from nasdepth.errors import NasdepthError
from nasdepth.training.losses.distillation import (
    AffinityForm,
    OutputForm,
    Projection,
    affinity_loss,
    channelwise_loss,
    feature_l2_loss,
    output_distillation_loss,
)
from nasdepth.training.losses.geometry import field_of_view_intrinsics
from nasdepth.training.losses.gradients import gradient_matching_loss, masked_gradient_loss
from nasdepth.training.losses.ordinal import (
    RankingForm,
    pairs_from_depth,
    pairs_from_relative,
    ranking_loss,
)
from nasdepth.training.losses.pointwise import (
    ResidualSpace,
    berhu_loss,
    l1_loss,
    mse_loss,
    rmse_loss,
    robust_loss,
)
from nasdepth.training.losses.registry import LossInputs, LossTerm, given, register_term
from nasdepth.training.losses.relative import RelativeForm, relative_loss
from nasdepth.training.losses.scale_invariant import SigForm, sig_loss
from nasdepth.training.losses.segmentation import DepthToSegmentation, segmentation_loss
from nasdepth.training.losses.selfsupervised import Outside, reprojection_loss, smoothness_loss
from nasdepth.training.losses.structure import ssim_loss
from nasdepth.training.losses.virtual_normal import FilterOn, virtual_normal_loss

# inverse depth in 1/m of what is nearer than this (Monodepth2's range starts here) is that of 0.1 m
_NEAREST_MM = 100.0
_MM_PER_M = 1000.0

Share = Annotated[float, Field(ge=0, lt=1)]
Scales = Annotated[int, Field(ge=1, le=8)]
Count = Annotated[int, Field(ge=1)]
Where = Literal["known", "everywhere"]
Reduce = Literal["mean", "sum"]


def _is_a_number(value: float) -> float:
    if value != value:
        raise ValueError("must be a number")
    return value


def inverse_depth(pred_mm: torch.Tensor) -> torch.Tensor:
    """Inverse depth in 1/m of depth in millimetres, at most 10."""
    return _MM_PER_M / pred_mm.float().clamp_min(_NEAREST_MM)


class _DenseTerm(LossTerm):
    """A term that compares with dense metric depth."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"target_mm", "mask"})


@register_term("sig")
class Sig(_DenseTerm):
    """The scale-invariant loss of ln depth, `sig_loss`.

    BTS has weight 10; SMART has weight 10, variance 1 and form square.
    """

    variance: float = Field(0.85, ge=0, le=1)
    form: SigForm = "root"

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return sig_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.variance, self.form)


@register_term("gradient")
class Gradient(_DenseTerm):
    """The multi-scale difference of the gradients of ln depth, or of depth, `gradient_matching_loss`.

    SMART has weight 0.1, space metres and reduce sum.
    """

    scales: Scales = 4
    space: ResidualSpace = later("log")
    reduce: Reduce = later("mean")

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return gradient_matching_loss(
            inputs.pred_mm,
            given(inputs.target_mm),
            given(inputs.mask),
            self.scales,
            space=self.space,
            reduce=self.reduce,
        )


@register_term("masked_gradient")
class MaskedGradient(_DenseTerm):
    """The difference of depth's gradients in metres, `masked_gradient_loss`."""

    scales: Scales = 4

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return masked_gradient_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.scales)


@register_term("virtual_normal")
class VirtualNormal(_DenseTerm):
    """The difference of the planes through random triples of points, `virtual_normal_loss`.

    `horizontal_fov_deg` stands in where the data gives no intrinsics.
    """

    triples: float = Field(0.15, gt=0, le=1)
    max_cosine: float = Field(0.867, gt=0, le=1)
    min_edge_m: float = Field(0.1, ge=0, allow_inf_nan=False)
    drop: Share = 0.25
    horizontal_fov_deg: float | None = Field(None, gt=0, lt=180)
    filter_on: FilterOn = later("target")

    @property
    def needs(self) -> frozenset[str]:
        needed = super().needs
        return needed | {"intrinsics"} if self.horizontal_fov_deg is None else needed

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        intrinsics = inputs.intrinsics
        if intrinsics is None:
            batch, _, height, width = inputs.pred_mm.shape
            intrinsics = field_of_view_intrinsics((height, width), given(self.horizontal_fov_deg), batch)
        return virtual_normal_loss(
            inputs.pred_mm,
            given(inputs.target_mm),
            given(inputs.mask),
            intrinsics,
            triples=self.triples,
            max_cosine=self.max_cosine,
            min_edge_m=self.min_edge_m,
            drop=self.drop,
            filter_on=self.filter_on,
            generator=inputs.generator,
        )


@register_term("robust")
class Robust(_DenseTerm):
    """Barron's general robust loss in metres, `robust_loss`."""

    alpha: Annotated[float, AfterValidator(_is_a_number)] = 1.0
    scale_m: float = Field(2.0, gt=0, allow_inf_nan=False)

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return robust_loss(
            inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.alpha, self.scale_m
        )


@register_term("l1")
class L1(_DenseTerm):
    """The mean absolute difference, `l1_loss`."""

    space: ResidualSpace = "metres"

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return l1_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.space)


@register_term("mse")
class Mse(_DenseTerm):
    """The mean squared difference, `mse_loss`."""

    space: ResidualSpace = "metres"

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return mse_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.space)


@register_term("rmse")
class Rmse(_DenseTerm):
    """The root of each image's mean squared difference, `rmse_loss`."""

    space: ResidualSpace = "metres"

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return rmse_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.space)


@register_term("berhu")
class BerHu(_DenseTerm):
    """The reverse Huber loss, `berhu_loss`."""

    space: ResidualSpace = "metres"
    share: float = Field(0.2, gt=0, lt=1)

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return berhu_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.space, self.share)


@register_term("ssim")
class Ssim(_DenseTerm):
    """The structural dissimilarity in windows of 11 x 11 pixels, `ssim_loss`."""

    range_mm: float = Field(10_000.0, gt=0, allow_inf_nan=False)

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return ssim_loss(inputs.pred_mm, given(inputs.target_mm), given(inputs.mask), self.range_mm)


@register_term("ranking")
class Ranking(LossTerm):
    """The ranking loss of the ordinal pairs that the data gives (DIW), `ranking_loss`."""

    drop: Share = 0.0
    form: RankingForm = later("logistic")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"pairs"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return ranking_loss(inputs.pred_mm, given(inputs.pairs), drop=self.drop, form=self.form)


@register_term("sampled_ranking")
class SampledRanking(LossTerm):
    """The ranking loss of pairs that are drawn from dense maps (ReDWeb), `ranking_loss`.

    The maps are metric depth, or depth or disparity of unknown scale and shift, which is ReDWeb's own data.
    """

    pairs: Count = 3000
    ratio: float = Field(0.02, ge=0, allow_inf_nan=False)
    drop: Share = 0.25
    form: RankingForm = later("logistic")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    @property
    def alternatives(self) -> tuple[frozenset[str], ...]:
        return frozenset({"target_mm", "mask"}), frozenset({"inverse", "inverse_mask"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        if inputs.target_mm is not None:
            pairs = pairs_from_depth(
                inputs.target_mm,
                given(inputs.mask),
                self.pairs,
                ratio=self.ratio,
                generator=inputs.generator,
            )
        else:
            pairs = pairs_from_relative(
                given(inputs.inverse),
                given(inputs.inverse_mask),
                self.pairs,
                space=inputs.space,
                ratio=self.ratio,
                generator=inputs.generator,
            )
        return ranking_loss(inputs.pred_mm, pairs, drop=self.drop, form=self.form)


@register_term("relative")
class Relative(LossTerm):
    """The loss up to scale and shift, `relative_loss`, of inverse depth in 1/m (MiDaS).

    Where the data is depth of unknown scale and shift it is of depth in metres: inverting the data would need
    the shift.
    """

    form: RelativeForm = "trimmed"
    trim: Share = 0.2
    gradient: float = Field(0.5, ge=0, allow_inf_nan=False)
    scales: Scales = 4

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"inverse", "inverse_mask"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        of_depth = inputs.space == "depth"
        return relative_loss(
            inputs.pred_mm.float() / _MM_PER_M if of_depth else inverse_depth(inputs.pred_mm),
            given(inputs.inverse),
            given(inputs.inverse_mask),
            form=self.form,
            trim=self.trim,
            gradient=self.gradient,
            scales=self.scales,
        )


@register_term("smoothness")
class Smoothness(LossTerm):
    """The edge-aware smoothness of inverse depth, `smoothness_loss`; Monodepth2 has weight 0.001."""

    scales: Scales = later(1)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"rgb"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return smoothness_loss(
            inverse_depth(inputs.pred_mm), given(inputs.rgb), inputs.everywhere, self.scales
        )


@register_term("reprojection")
class Reprojection(LossTerm):
    """The photometric difference of other views that are warped by the depth, `reprojection_loss`."""

    ssim_weight: float = Field(0.85, ge=0, le=1)
    automask: bool = True
    outside: Outside = "leave_out"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"rgb", "sources", "poses", "intrinsics"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return reprojection_loss(
            inputs.pred_mm,
            given(inputs.rgb),
            given(inputs.sources),
            given(inputs.poses),
            given(inputs.intrinsics),
            inputs.everywhere,
            ssim_weight=self.ssim_weight,
            automask=self.automask,
            outside=self.outside,
        )


@register_term("distill_output")
class DistillOutput(LossTerm):
    """The difference from a teacher's depth, `output_distillation_loss`, everywhere or at known targets."""

    variance: float = Field(1.0, ge=0, le=1)
    where: Where = "everywhere"
    form: OutputForm = later("sig")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"teacher_mm"} | ({"mask"} if self.where == "known" else set()))

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        mask = given(inputs.mask) if self.where == "known" else inputs.everywhere
        return output_distillation_loss(
            inputs.pred_mm, given(inputs.teacher_mm), mask, self.variance, self.form
        )


@register_term("segmentation")
class Segmentation(LossTerm):
    """The cross-entropy of classes that a network reads from depth (X-Distill), `segmentation_loss`."""

    classes: int = Field(ge=2)
    width: Count = 32

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"labels"})

    def modules(self, channels: Mapping[str, tuple[int, int]]) -> nn.ModuleDict:
        return nn.ModuleDict({"segment": DepthToSegmentation(self.classes, self.width)})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        return segmentation_loss(modules["segment"](inputs.pred_mm), given(inputs.labels))


class _FeatureTerm(LossTerm):
    """A term on features: the mean, or the sum, over its layers.

    Where sizes differ the teacher's features are resized to the student's. With `where: known` a position
    counts if any pixel that it covers has a known target.
    """

    of_prediction = False
    layers: Annotated[tuple[str, ...], Field(min_length=1)]
    where: Where = "everywhere"
    reduce: Reduce = later("mean")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"features", "teacher_features"} | ({"mask"} if self.where == "known" else set()))

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        values = []
        for layer in self.layers:
            student = self._layer(given(inputs.features), layer, "student")
            teacher = self._layer(given(inputs.teacher_features), layer, "teacher")
            key = _module_key(layer)
            if key in modules:
                # features of an autocast network are bfloat16, the projection's weights are not
                student = modules[key](student.to(next(modules[key].parameters()).dtype))
            hw = (student.shape[2], student.shape[3])
            mask = (
                F.adaptive_max_pool2d(given(inputs.mask).float(), hw) > 0 if self.where == "known" else None
            )
            values.append(self._compare(student, _resized(teacher, hw), mask))
        return torch.stack(values).sum() if self.reduce == "sum" else torch.stack(values).mean()

    def _compare(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        raise NotImplementedError

    def _layer[Feature](self, features: Mapping[str, Feature], layer: str, of: str) -> Feature:
        if layer not in features:
            raise NasdepthError(
                f"loss term {self.name}: layers names {layer!r}, which the {of} does not give; it gives "
                f"{', '.join(features) or 'none'}"
            )
        return features[layer]


class _ProjectedTerm(_FeatureTerm):
    """A feature term that needs the student's channels to be the teacher's."""

    def modules(self, channels: Mapping[str, tuple[int, int]]) -> nn.ModuleDict:
        pairs = {layer: self._layer(channels, layer, "training") for layer in self.layers}
        return nn.ModuleDict({_module_key(layer): Projection(*pair) for layer, pair in pairs.items()})


@register_term("distill_features")
class DistillFeatures(_ProjectedTerm):
    """The squared difference from a teacher's features through a learned projection, `feature_l2_loss`."""

    def _compare(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        return feature_l2_loss(student, teacher, mask)


@register_term("distill_affinity")
class DistillAffinity(_FeatureTerm):
    """The difference of the cosines between positions, `affinity_loss`.

    SMART has weight 1000 and form smart, LiteDepth weight 10.
    """

    form: AffinityForm = "litedepth"
    patch: Count = 1

    def _compare(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        return affinity_loss(student, teacher, mask, form=self.form, patch=self.patch)


@register_term("distill_channels")
class DistillChannels(_ProjectedTerm):
    """The divergence of channels, each a distribution over positions, `channelwise_loss`."""

    temperature: float = Field(4.0, gt=0, allow_inf_nan=False)

    def _compare(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        return channelwise_loss(student, teacher, mask, self.temperature)


def _module_key(layer: str) -> str:
    # a module's name may hold no dot
    return layer.replace(".", "-")


def _resized(teacher: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    teacher = teacher.float()
    if tuple(teacher.shape[2:]) == hw:
        return teacher
    if teacher.shape[2] >= hw[0] and teacher.shape[3] >= hw[1]:
        return F.adaptive_avg_pool2d(teacher, hw)
    return F.interpolate(teacher, size=hw, mode="bilinear", align_corners=False)
