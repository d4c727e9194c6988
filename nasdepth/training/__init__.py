"""Training: recipes, losses and the one loop."""

from nasdepth.training.checkpoint import load_model, read_checkpoint
from nasdepth.training.logs import Epoch
from nasdepth.training.loop import StepReport, train
from nasdepth.training.recipe import Recipe, load_recipe, recipe_for, recipe_names
from nasdepth.training.validation import validate

__all__ = [
    "Epoch",
    "Recipe",
    "StepReport",
    "load_model",
    "load_recipe",
    "read_checkpoint",
    "recipe_for",
    "recipe_names",
    "train",
    "validate",
]
