"""Training losses: pure functions with exact masks, differentiable in the prediction.

Depth is (B, 1, H, W) in millimetres, a mask (B, 1, H, W) bool. What a mask leaves out influences neither the
value nor the gradient, whatever stands there, NaN included; an image without a known pixel counts for
nothing, and a batch of such images has the loss 0. Unless a loss says otherwise it is a mean per image over
what is known, averaged over the images that know anything. All compute in float32 or wider, under autocast
too, and return a scalar.
"""

from nasdepth.training.losses.distillation import (
    Projection,
    affinity_loss,
    channelwise_loss,
    feature_l2_loss,
    output_distillation_loss,
)
from nasdepth.training.losses.gradients import gradient_matching_loss, masked_gradient_loss
from nasdepth.training.losses.ordinal import (
    CLOSER,
    EQUAL,
    FARTHER,
    OrdinalPairs,
    pairs_from_depth,
    pairs_from_relative,
    ranking_loss,
)
from nasdepth.training.losses.pointwise import (
    barron,
    berhu_loss,
    l1_loss,
    mse_loss,
    rmse_loss,
    robust_loss,
)
from nasdepth.training.losses.registry import (
    LossInputs,
    LossTerm,
    LossTerms,
    given,
    parse_terms,
    register_term,
    term_class,
    term_names,
)
from nasdepth.training.losses.relative import relative_loss
from nasdepth.training.losses.scale_invariant import LOG_EPSILON_MM, log_depth, sig_loss
from nasdepth.training.losses.segmentation import DepthToSegmentation, segmentation_loss
from nasdepth.training.losses.selfsupervised import reprojection_loss, smoothness_loss
from nasdepth.training.losses.structure import ssim_loss
from nasdepth.training.losses.virtual_normal import virtual_normal_loss

from nasdepth.training.losses import terms  # isort: skip  # noqa: F401  registers the terms

__all__ = [
    "CLOSER",
    "EQUAL",
    "FARTHER",
    "LOG_EPSILON_MM",
    "DepthToSegmentation",
    "LossInputs",
    "LossTerm",
    "LossTerms",
    "OrdinalPairs",
    "Projection",
    "affinity_loss",
    "barron",
    "berhu_loss",
    "channelwise_loss",
    "feature_l2_loss",
    "given",
    "gradient_matching_loss",
    "l1_loss",
    "log_depth",
    "masked_gradient_loss",
    "mse_loss",
    "output_distillation_loss",
    "pairs_from_depth",
    "pairs_from_relative",
    "parse_terms",
    "ranking_loss",
    "register_term",
    "relative_loss",
    "reprojection_loss",
    "rmse_loss",
    "robust_loss",
    "segmentation_loss",
    "sig_loss",
    "smoothness_loss",
    "ssim_loss",
    "term_class",
    "term_names",
    "virtual_normal_loss",
]
