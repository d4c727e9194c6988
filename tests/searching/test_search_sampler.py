"""Which sampler and which families a search uses, and that a resume keeps them."""

import logging
import warnings

import optuna
import pytest

from nasdepth.errors import SpaceError, StudyError
from nasdepth.models.pretrained import Start
from nasdepth.searching import Run, Settings
from nasdepth.searching.sampling import DEFAULT_SAMPLER, LatencyAwareSampler

DATA = "scenes:24+6"


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe):
    return Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)


@pytest.fixture
def families_space(tmp_path):
    path = tmp_path / "families.yaml"
    path.write_text(
        "name: families\ninput: {height: 64, width: 64}\n"
        "encoder: {family: [mobilenetv3_small_minimal, mobilenetv2, lcnet], width: 0.5, stride: 8}\n"
        "decoder: {skip: none, block: conv, kernel: 1, width: [8, 16], upsampling: nearest}\n"
        "head: {stride: 8, upsampling: nearest}\n"
    )
    return path


@pytest.fixture
def weights(monkeypatch):
    """Which families have weights here; a set that a test may change."""
    having = {"mobilenetv2"}

    def here(family):
        if family in having:
            return Start("ImageNet (a package)", pretrained=True)
        return Start(f"random (no ImageNet weights for {family} within reach)", pretrained=False)

    monkeypatch.setattr("nasdepth.searching.run.weights_here", here)
    return having


def search(run):
    return run.search(progress=False)


@pytest.mark.parametrize("name", ["latency-aware", "tpe", "random", "evolution", "gp"])
def test_a_search_runs_with_every_sampler(tmp_path, settings, name):
    session = search(Run.create(tmp_path / "run", settings.model_copy(update={"sampler": name})))
    assert len(session.run(2)) >= 2 and session.spent == 2


@pytest.mark.parametrize("name", ["latency-aware", "nsga2", "tpe"])
def test_a_front_is_searched_with_every_sampler_that_can(tmp_path, settings, name):
    changed = settings.model_copy(update={"sampler": name, "objective": "pareto"})
    session = search(Run.create(tmp_path / "run", changed))
    session.run(2)
    assert session.spent == 2


def test_the_default_knows_the_latency(tmp_path, settings):
    assert settings.sampler == DEFAULT_SAMPLER
    assert isinstance(search(Run.create(tmp_path / "run", settings)).study.sampler, LatencyAwareSampler)


def test_a_resume_keeps_the_sampler_and_may_change_it(tmp_path, settings):
    search(Run.create(tmp_path / "run", settings.model_copy(update={"sampler": "random"}))).run(1)
    run = Run.open(tmp_path / "run")
    assert run.settings.sampler == "random"
    changed = Run(run.folder, run.settings.model_copy(update={"sampler": "tpe"}))
    session = search(changed)
    assert isinstance(session.study.sampler, optuna.samplers.TPESampler)
    session.run(2)
    assert session.spent == 2 and Run.open(run.folder).settings.sampler == "tpe"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampler": "magic"}, "`sampler` is 'magic'; it must be one of latency-aware"),
        ({"sampler": "evolution", "objective": "pareto"}, "evolution cannot search with `objective` pareto"),
    ],
)
def test_a_sampler_that_cannot_is_refused_before_anything_is_written(tmp_path, settings, change, words):
    with pytest.raises(StudyError, match=words):
        search(Run.create(tmp_path / "run", settings.model_copy(update=change)))
    assert not (tmp_path / "run").exists()


def test_no_global_state_is_changed(tmp_path, settings, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    before = list(warnings.filters)
    for name in ("latency-aware", "tpe"):
        search(Run.create(tmp_path / name, settings.model_copy(update={"sampler": name}))).run(1)
    assert optuna.logging.get_verbosity() == logging.INFO and warnings.filters == before
    assert "study" not in capfd.readouterr().err  # and yet Optuna said nothing of its own


def test_only_families_with_weights_are_searched(tmp_path, settings, families_space, weights):
    changed = settings.model_copy(update={"space": str(families_space), "pretrained_only": True})
    session = search(Run.create(tmp_path / "run", changed))
    assert session.space.definition.encoder.family == ("mobilenetv2",)
    kept = Run.open(tmp_path / "run")
    assert kept.settings.families == ("mobilenetv2",)
    # other weights turn up: the run goes on with what it began with
    weights.add("lcnet")
    resumed = search(kept)
    assert resumed.space.fingerprint == session.space.fingerprint
    # its own are gone: its trainings would not be comparable
    weights.clear()
    with pytest.raises(StudyError, match=r"weights that are not at hand here: mobilenetv2: random"):
        search(Run.open(tmp_path / "run"))


def test_a_run_without_a_folder_of_its_own_yet_may_have_families_without_weights(
    tmp_path, settings, families_space, weights, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    changed = settings.model_copy(update={"space": str(families_space), "pretrained_only": True})
    run = Run.create(None, changed)
    search(run)
    assert Run.open(run.folder).settings.families == ("mobilenetv2",)


def test_where_no_family_has_weights_it_says_why(tmp_path, settings, families_space, weights):
    weights.clear()
    changed = settings.model_copy(update={"space": str(families_space), "pretrained_only": True})
    with pytest.raises(
        StudyError, match=r"leaves no family of space families: mobilenetv3_small_min"
    ) as error:
        search(Run.create(tmp_path / "run", changed))
    assert "pip install nasdepth[weights]" in str(error.value) and not (tmp_path / "run").exists()


def test_families_can_be_named(tmp_path, settings, families_space, weights):
    changed = settings.model_copy(update={"space": str(families_space), "families": ("lcnet", "mobilenetv2")})
    run = Run.create(tmp_path / "run", changed)
    assert search(run).space.definition.encoder.family == ("mobilenetv2", "lcnet")
    both = changed.model_copy(update={"pretrained_only": True})
    assert search(Run.create(tmp_path / "both", both)).space.definition.encoder.family == ("mobilenetv2",)
    with pytest.raises(SpaceError, match="families has no family ghostnet; it has mobilenetv3_small_minimal"):
        search(Run.create(tmp_path / "c", changed.model_copy(update={"families": ("ghostnet",)})))
    # a restricted space is another space
    everything = run.settings.model_copy(update={"families": None})
    with pytest.raises(StudyError, match="another space"):
        search(Run(run.folder, everything))
