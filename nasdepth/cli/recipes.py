"""nasdepth recipes: the trainings that come with nasdepth, and one as it resolves."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from nasdepth.cli.console import App, Json, out, print_json

app = App(help="Training recipes.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command("list")
def list_recipes(as_json: Json = False) -> None:
    """The recipes that come with nasdepth.

    Example: `nasdepth recipes list`
    """
    from nasdepth.training.recipe import load_recipe, recipe_names

    recipes = {name: load_recipe(name) for name in recipe_names()}
    if as_json:
        rows = [
            {
                "name": name,
                "about": recipe.about,
                "source": recipe.source,
                "epochs": recipe.epochs,
                "terms": list(recipe.loss),
                "fingerprint": recipe.fingerprint,
            }
            for name, recipe in recipes.items()
        ]
        print_json("recipes", recipes=rows)
        return
    table = Table(title="Recipes", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("name", "epochs", "loss terms", "about"):
        table.add_column(heading, justify="right" if heading == "epochs" else "left", overflow="fold")
    for name, recipe in recipes.items():
        table.add_row(name, str(recipe.epochs), ", ".join(recipe.loss), recipe.about)
    out.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name, or a YAML file.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, as for `nasdepth retrain`. Repeatable.")
    ] = None,
    every_field: Annotated[
        bool, typer.Option("--all", help="Every field, defaults included, without the file's comments.")
    ] = False,
    as_json: Json = False,
) -> None:
    """A recipe as its file says it, comments included; with --set or --all as it resolves.

    Examples: `nasdepth recipes show litedepth`; `nasdepth recipes show default --set epochs=100 > mine.yaml`
    """
    from nasdepth.training.recipe import load_recipe, parse_overrides, recipe_file

    recipe = load_recipe(name, parse_overrides(changes or ()))
    if as_json:
        print_json("recipe", **recipe.model_dump(mode="json"), fingerprint=recipe.fingerprint)
        return
    as_written = not (changes or every_field)
    typer.echo(recipe_file(name).read_text(encoding="utf-8") if as_written else recipe.to_yaml(), nl=False)
