"""Real searches: real trainings on rendered scenes, a table measured here, a real SQLite study."""

import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

import nasdepth.searching.run as run_module
from nasdepth.data import load_split
from nasdepth.errors import StudyError
from nasdepth.models import resolve
from nasdepth.score import score
from nasdepth.searching import (
    Outcome,
    Run,
    SearchEvents,
    Settings,
    TrialRecord,
    best,
    latest_run_folder,
    named,
    new_run_folder,
    pareto_front,
)
from nasdepth.searching.founding import STUDY_NAME
from nasdepth.searching.records import ATTRIBUTE

DATA = "scenes:24+6"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe):
    return Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)


@pytest.fixture
def two(settings, two_space_file):
    """Settings over a space of two architectures."""
    return settings.model_copy(update={"space": str(two_space_file)})


def begin(folder, settings, **events):
    return Run.create(folder, settings).search(SearchEvents(**events), progress=False)


def outcomes(records):
    return [record.outcome for record in records]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, tiny_space_file, table_file, quick_recipe):
    """One search of five trials, with its results; tests read it and change nothing."""
    folder = tmp_path_factory.mktemp("runs") / "search-1"
    settings = Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)
    asked = []

    def load(source, split, progress=True):
        asked.append(split)
        return load_split(source, split, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "load_split", load)
        run = Run.create(folder, settings)
        session = run.search(progress=False)
        records = session.run(5)
        run.write_results(records)
    return run, session, records, asked


def test_the_budget_counts_trained_trials(searched):
    _, session, records, _ = searched
    assert session.spent == 5
    spent = [record for record in records if record.outcome in ("trained", "pruned", "diverged")]
    assert len(spent) == len({record.architecture for record in spent}) == 5
    for record in spent:
        assert record.si_rmse == record.curve[-1] > 0 and record.training_s > 0
        assert record.score == pytest.approx(score(record.si_rmse, record.latency_ms))
        assert session.space.contains(record.architecture)
        assert "random" in record.start and "mobilenetv3_small_minimal" in record.start


def test_latencies_are_the_tables(searched):
    from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels

    run, _, records, _ = searched
    predictor = TablePredictor(LatencyTable.load(run.settings.table))
    for record in records:
        estimate = predictor.estimate(architecture_kernels(record.architecture))
        assert record.estimated_latency_ms == estimate.latency_ms > 0
        interval_90 = record.estimated_latency_low_ms, record.estimated_latency_high_ms
        assert interval_90 == estimate.interval_90
        assert record.latency_ms == record.estimated_latency_ms and record.latency_source == "estimate"
        assert record.measured_share == 1.0  # the table was built for this space


def test_the_test_split_is_not_loaded(searched):
    *_, asked = searched
    assert asked == ["train"]


def test_what_validates_is_held_out_of_what_trains(searched):
    _, session, *_ = searched
    fit, held_out = set(session.objective.fit.image_ids), set(session.objective.validation.image_ids)
    assert fit and held_out and not fit & held_out and len(fit | held_out) == 24


def test_the_study_opens_in_optuna(searched):
    run, _, records, _ = searched
    study = optuna.load_study(study_name=STUDY_NAME, storage=run.storage)
    done = {trial.number: trial for trial in study.trials if trial.state.is_finished()}
    assert set(done) == {record.number for record in records}
    for record in records:
        trial = done[record.number]
        assert trial.user_attrs["architecture"] == str(record.architecture)
        if record.outcome is Outcome.TRAINED:
            assert 2**trial.value == pytest.approx(record.score)
            assert trial.intermediate_values  # for the dashboard's learning curves
            assert record.useful == all(excess <= 0 for excess in trial.constraints.values())
    if best(records).useful:
        assert study.best_trial.number == best(records).number


def test_result_files_are_valid_and_agree(searched):
    run, _, records, _ = searched
    rows = list(csv.DictReader((run.folder / "trials.csv").open()))
    assert [int(row["trial"]) for row in rows] == [record.number for record in records]
    trained = [row for row in rows if row["outcome"] == "trained"]
    content = json.loads((run.folder / "results.json").read_text())
    assert content["schema"] == "nasdepth-results-1"
    assert content["settings"]["data"] == DATA
    assert content["best"]["score"] == pytest.approx(max(float(row["score"]) for row in trained))
    assert run.best_architecture() == best(records).architecture
    front = list(csv.DictReader((run.folder / "pareto.csv").open()))
    assert [row["architecture"] for row in front] == [row["architecture"] for row in content["pareto"]]
    assert [row["architecture"] for row in front] == [str(one.architecture) for one in pareto_front(records)]


def test_a_finished_search_has_nothing_left_to_do(searched):
    run, *_ = searched
    started = []
    session = Run.open(run.folder).search(
        SearchEvents(trial_started=lambda *a: started.append(a)), progress=False
    )
    assert session.run(5) and session.spent == 5 and started == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("data", "scenes:24+6@1", "another data set"),
        ("data", "scenes:20+6", "another data set"),
        ("space", "two", "another space"),
        ("table", "copy", "another latency table"),
        ("seed", 3, "another seed"),
        ("objective", "pareto", "another objective"),
        ("proxy", {"epochs": 2}, "another proxy recipe"),
    ],
)
def test_a_study_of_something_else_is_refused(
    searched, tmp_path, two_space_file, table_file, field, value, words
):
    run, _, records, _ = searched
    if field == "space":
        value = str(two_space_file)
    elif field == "proxy":
        value = run.settings.proxy.with_(**value)
    elif field == "table":  # the same kernels, measured by another hand
        lines = table_file.read_text().splitlines(keepends=True)
        cells = lines[1].split(",")
        column = lines[0].strip().split(",").index("latency_ms")
        cells[column] = str(float(cells[column]) * 2)
        (tmp_path / "here.csv").write_text("".join([lines[0], ",".join(cells), *lines[2:]]))
        (tmp_path / "here.yaml").write_text(table_file.with_suffix(".yaml").read_text())
        value = str(tmp_path / "here.csv")
    other = Run(run.folder, run.settings.model_copy(update={field: value}))
    with pytest.raises(StudyError, match=words) as error:
        other.search(progress=False)
    assert "study.db" in str(error.value)
    assert len(run.search(progress=False).records) == len(records)  # nothing was lost


def test_a_foreign_study_and_a_broken_one_are_named(tmp_path, settings):
    url = f"sqlite:///{tmp_path / 'foreign.db'}"
    optuna.create_study(study_name=STUDY_NAME, storage=url, direction="maximize").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(StudyError, match=r"foreign\.db: holds a study that nasdepth did not make"):
        begin(tmp_path / "a", settings.model_copy(update={"storage": url}))
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    broken = settings.model_copy(update={"storage": f"sqlite:///{tmp_path / 'broken.db'}"})
    with pytest.raises(StudyError, match=r"broken\.db: cannot be opened as a study"):
        begin(tmp_path / "b", broken)


def test_an_architecture_is_never_trained_twice(tmp_path, two, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.stopping._REPEATS_BEFORE_GIVING_UP", 30)
    started = []
    session = begin(tmp_path / "run", two, trial_started=lambda architecture, _: started.append(architecture))
    records = session.run(5)
    assert len(started) == len(set(started)) == session.spent == 2
    repeated = [record for record in records if record.outcome is Outcome.REPEATED]
    assert repeated
    for record in repeated:
        original = next(one for one in records if one.architecture == record.architecture)
        assert record.note == f"trial {original.number}" and record.si_rmse == original.si_rmse


def test_what_is_too_slow_is_never_trained(tmp_path, settings):
    free = begin(tmp_path / "free", settings)
    latencies = sorted(free.objective.latency(one).latency_ms for one in free.space.architectures())
    limit = latencies[len(latencies) // 3]
    started = []
    session = begin(
        tmp_path / "run",
        settings.model_copy(update={"max_latency_ms": limit}),
        trial_started=lambda architecture, latency_ms: started.append(latency_ms),
    )
    records = session.run(2)
    assert len(started) == 2 and max(started) <= limit
    slow = [record for record in records if record.outcome is Outcome.TOO_SLOW]
    assert all(record.latency_ms > limit and record.si_rmse is None for record in slow)
    assert session.spent == 2


def test_a_limit_that_nothing_meets_is_said_and_can_be_raised(tmp_path, two, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.stopping._TOO_SLOW_BEFORE_GIVING_UP", 20)
    strict = two.model_copy(update={"max_latency_ms": 1e-6})
    session = begin(tmp_path / "run", strict, trial_started=lambda *_: pytest.fail("trained"))
    with pytest.raises(StudyError, match=r"slower than 1e-06 ms; raise `max_latency_ms`"):
        session.run(1)
    assert session.spent == 0 and set(outcomes(session.records)) == {Outcome.TOO_SLOW}
    # what was refused under the old limit is judged anew
    resumed = Run(tmp_path / "run", two).search(progress=False)
    resumed.run(1)
    assert resumed.spent == 1


@pytest.mark.parametrize("moment", ["start", "step", "epoch"])
def test_an_interrupted_trial_is_run_again_and_nothing_is_lost(tmp_path, settings, moment):
    seen = []

    def interrupt(*_):
        if len(seen) == 2:
            raise KeyboardInterrupt

    def started(architecture, _):
        seen.append(architecture)
        if moment == "start":
            interrupt()

    events = {"trial_started": started} | ({} if moment == "start" else {moment: interrupt})
    session = begin(tmp_path / "run", settings, **events)
    with pytest.raises(KeyboardInterrupt):
        session.run(3)
    kept = [record for record in session.records if record.outcome is Outcome.TRAINED]
    assert len(kept) == 1 and outcomes(session.records).count(Outcome.INTERRUPTED) == 1

    again = []
    resumed = Run.open(tmp_path / "run").search(
        SearchEvents(trial_started=lambda architecture, _: again.append(architecture)), progress=False
    )
    records = resumed.run(3)
    assert again[0] == seen[1] and seen[0] not in again
    assert resumed.spent == 3 and kept[0] in records


def test_a_killed_search_resumes(tmp_path, settings, shared_cache):
    """SIGKILL in the middle of a training leaves a running trial: it is put back when it is missed."""
    settings = settings.model_copy(update={"heartbeat_s": 1})
    folder = tmp_path / "run"
    code = (
        "import sys, time\n"
        "from nasdepth.searching import Run, SearchEvents, Settings\n"
        "def started(architecture, _):\n"
        "    print(architecture, flush=True)\n"
        "    number.append(1)\n"
        "    if len(number) == 2: time.sleep(600)\n"
        "number = []\n"
        "settings = Settings.model_validate_json(sys.argv[2])\n"
        "events = SearchEvents(trial_started=started)\n"
        "Run.create(sys.argv[1], settings).search(events, progress=False).run(3)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), settings.model_dump_json()],
        env=os.environ | {"NASDEPTH_CACHE": shared_cache},
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    first, second = (process.stdout.readline().strip() for _ in range(2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert second and first != second
    again = []
    session = Run.open(folder).search(
        SearchEvents(trial_started=lambda architecture, _: again.append(str(architecture))), progress=False
    )
    assert [str(record.architecture) for record in session.records] == [first]
    records = session.run(3)
    assert again.count(second) == 1 and first not in again and session.spent == 3
    assert not session.study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    assert len({record.architecture for record in records if record.outcome is Outcome.TRAINED}) >= 2


def test_named_designs_are_tried_first(tmp_path, settings):
    """In a space that holds LiteDepth, it is the first to be judged."""
    space = tmp_path / "around.yaml"
    space.write_text(
        "name: around\ninput: {height: 128, width: 160}\n"
        "encoder: {family: mobilenetv3_small_minimal, width: 1, stride: 32}\n"
        "decoder: {skip: [none, concat], block: conv, kernel: [1, 3], width: [8, 24, 72],"
        " upsampling: [nearest, bilinear]}\nhead: {stride: 4, upsampling: nearest}\n"
    )
    session = begin(tmp_path / "run", settings.model_copy(update={"space": str(space)}))
    assert list(session.space.named()) == ["litedepth"]
    queued = session.study.get_trials(states=(optuna.trial.TrialState.WAITING,))
    assert len(queued) == 1
    assert queued[0].system_attrs["fixed_params"] == session.space.parameters(resolve("litedepth"))


def test_the_pareto_objective_fills_a_front(tmp_path, settings):
    run = Run.create(tmp_path / "run", settings.model_copy(update={"objective": "pareto"}))
    session = run.search(progress=False)
    records = session.run(3)
    trained = [record for record in records if record.outcome is Outcome.TRAINED]
    assert len(trained) == 3
    front = {record.number for record in pareto_front(records) if record.useful}
    assert front == {trial.number for trial in session.study.best_trials}
    run.write_results(records)
    assert json.loads((run.folder / "results.json").read_text())["pareto"]


def test_hopeless_trials_are_pruned_and_counted(tmp_path, settings, quick_recipe, monkeypatch):
    """What the pruner stops has been paid for: it counts, and is not tried again."""
    import optuna.trial

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda self: self.number > 0)
    session = begin(tmp_path / "run", settings.model_copy(update={"proxy": quick_recipe.with_(epochs=3)}))
    records = session.run(2)
    done = [record for record in records if record.outcome is not Outcome.REPEATED]
    assert outcomes(done) == [Outcome.TRAINED, Outcome.PRUNED]
    assert len(done[0].curve) == 3 and len(done[1].curve) == 1 and session.spent == 2
    assert best(records) == done[0] and pareto_front(records) == [done[0]]


def test_a_diverged_trial_is_recorded_and_the_search_goes_on(tmp_path, settings, quick_recipe):
    hot = quick_recipe.with_(**{"optimizer.learning_rate": 1e30, "epochs": 3})
    session = begin(tmp_path / "run", settings.model_copy(update={"proxy": hot}))
    records = session.run(2)
    spent = [record for record in records if record.outcome is not Outcome.REPEATED]
    assert outcomes(spent) == [Outcome.DIVERGED] * 2
    assert all("lower the learning rate" in record.note for record in spent)
    assert best(records) is None and pareto_front(records) == []


FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from nasdepth.errors import NasdepthError
from nasdepth.searching import Run, SearchEvents
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Run.open(sys.argv[1])
started = []
def fill(record):
    started.append(record)
    # from now on no write reaches beyond half of the study's file
    size = os.path.getsize(Path(sys.argv[1]) / "study.db")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
try:
    session = run.search(SearchEvents(trial_ended=fill), progress=False)
    session.run(200)
except NasdepthError as error:
    print("said:", error)
"""


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_study_resumes(tmp_path, settings, shared_cache):
    folder = tmp_path / "run"
    run = Run.create(folder, settings)
    session = run.search(progress=False)
    run.write_results(session.run(1))
    session.study._storage.remove_session()
    before = {name: (folder / name).read_bytes() for name in ("results.json", "trials.csv", "pareto.csv")}
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)],
        env=os.environ | {"NASDEPTH_CACHE": shared_cache},
        capture_output=True, text=True, cwd=REPOSITORY, timeout=200,
    )  # fmt: skip
    assert "said:" in answer.stdout and "study.db" in answer.stdout, answer.stdout + answer.stderr
    assert "free some space" in answer.stdout
    assert {name: (folder / name).read_bytes() for name in before} == before
    resumed = Run.open(folder).search(progress=False)
    spent = resumed.spent
    assert spent >= 1
    resumed.run(spent + 1)
    assert resumed.spent == spent + 1


def test_a_budget_of_nothing_is_refused(tmp_path, two):
    with pytest.raises(StudyError, match="the budget is 0"):
        begin(tmp_path / "run", two).run(0)


# run folders


def test_run_folders_are_numbered(tmp_path):
    runs = tmp_path / "runs"
    with pytest.raises(StudyError, match="holds no search yet"):
        latest_run_folder(runs)
    assert new_run_folder(runs) == runs / "search-1"
    for name in ("search-2", "search-10", "search-x", "other"):
        (runs / name).mkdir(parents=True)
    assert latest_run_folder(runs) == runs / "search-10"
    assert new_run_folder(runs) == runs / "search-11" == latest_run_folder(runs)


def test_a_run_is_not_overwritten(searched):
    run, *_ = searched
    with pytest.raises(StudyError, match=r"already holds a search.*`resume`"):
        Run.create(run.folder, run.settings)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"search\.json: cannot be read"):
        Run.open(tmp_path)
    (tmp_path / "search.json").write_text('{"table": 3')
    with pytest.raises(StudyError, match=r"search\.json: is damaged"):
        Run.open(tmp_path)


def test_settings_survive_the_folder(searched):
    run, *_ = searched
    assert Run.open(run.folder).settings == run.settings


def test_bad_settings_leave_no_folder(tmp_path, settings):
    for change in ({"space": "nowhere"}, {"table": "nowhere"}, {"data": str(tmp_path / "nowhere")}):
        with pytest.raises(Exception, match="nowhere"):
            begin(tmp_path / "run", settings.model_copy(update=change))
        assert not (tmp_path / "run").exists()


# records


def record(number, latency_ms, si_rmse, outcome=Outcome.TRAINED):
    return TrialRecord(number, resolve("litedepth"), outcome, latency_ms=latency_ms, si_rmse=si_rmse)


@pytest.mark.parametrize("seed", range(5))
def test_the_pareto_front_is_what_nothing_dominates(seed):
    rng = random.Random(seed)
    ends = [Outcome.TRAINED] * 4 + [Outcome.PRUNED]
    records = [
        record(number, rng.randint(1, 12) / 2, rng.randint(20, 35) / 100, rng.choice(ends))
        for number in range(40)
    ]
    trained = [one for one in records if one.outcome is Outcome.TRAINED]

    def beaten(one):
        return any(
            other.latency_ms <= one.latency_ms and other.si_rmse <= one.si_rmse
            and (other.latency_ms, other.si_rmse) != (one.latency_ms, one.si_rmse)
            for other in trained
        )  # fmt: skip

    expected = {(one.latency_ms, one.si_rmse) for one in trained if not beaten(one)}
    front = pareto_front(records)
    assert [(one.latency_ms, one.si_rmse) for one in front] == sorted(expected)


def test_the_best_has_the_highest_score():
    records = [record(0, 4, 0.3), record(1, 2, 0.3), record(2, 2, 0.31), record(3, 1, 0.1, Outcome.PRUNED)]
    assert best(records) is records[1] and best(records[3:]) is None


def test_a_record_survives_storage():
    full = replace(
        record(7, 3.5, 0.25), curve=(0.4, 0.25), start="random", note="n", training_s=2.5, total_s=3.0
    )
    trial = optuna.trial.create_trial(
        value=1.0, user_attrs={ATTRIBUTE: json.loads(json.dumps(full.to_attribute()))}
    )
    trial.number = 7
    assert TrialRecord.from_trial(trial) == full
    assert full.name == "litedepth" and named([full]) == [full]
    assert TrialRecord.from_trial(optuna.trial.create_trial(value=1.0)) is None
    row = full.to_row()
    assert row["name"] == "litedepth" and row["curve"] == "0.4000 0.2500"
    assert math.isclose(row["score"], score(0.25, 3.5))
