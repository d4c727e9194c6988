"""Training: recipes, losses and the one loop."""

from nasdepth.training.checkpoint import load_model, read_checkpoint
from nasdepth.training.loop import Epoch, StepReport, train, validate
from nasdepth.training.recipe import PROXY, RETRAIN, Recipe

__all__ = [
    "PROXY",
    "RETRAIN",
    "Epoch",
    "Recipe",
    "StepReport",
    "load_model",
    "read_checkpoint",
    "train",
    "validate",
]
