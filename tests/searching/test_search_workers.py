"""Many processes on one study: real workers, real kills, a real PostgreSQL."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from private_postgres import PASSWORD
from storm import at_work, storm

import nasdepth.searching.run as run_module
from nasdepth.errors import StudyError
from nasdepth.models.pretrained import Start
from nasdepth.searching import Outcome, Run, SearchEvents, Settings, join, new_run_folder, share_of_cores
from nasdepth.searching.records import SPENT
from nasdepth.searching.study import SHARED

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe, in_shared_cache):
    return Settings(
        space=str(tiny_space_file),
        data="scenes:24+6",
        table=str(table_file),
        proxy=quick_recipe,
        heartbeat_s=1,
    )


def nasdepth(*arguments, **environment):
    """A process of the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "nasdepth", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_workers_on_postgresql_three_killed(postgres, tmp_path, settings):
    settings = settings.model_copy(update={"storage": postgres.database("storm")})
    came = storm(settings, tmp_path / "run", workers=8, kills=3, budget=24, limit_s=500)
    said = (tmp_path / "run" / "workers.log").read_text()
    assert came.kills == 3, said
    assert came.trained_twice == 0 and came.lost == 0 and came.running == 0, came
    assert came.trained == 24 and came.begun >= 24, came
    assert came.exit_codes == {0: 8}, said
    assert PASSWORD not in said and "s3cret" not in said


def two_on(url, settings, folder):
    """A study with one search and one worker that has joined it."""
    run = Run.create(folder, settings.model_copy(update={"storage": url}))
    session = run.search(progress=False)
    worker, found = join(url, progress=False)
    return run, session, worker, found


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_a_worker_finds_everything_in_the_study(kind, request, tmp_path, settings):
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = server.database("joined") if server else f"{kind}:///{tmp_path / 'study'}"
    run, session, worker, found = two_on(url, settings, tmp_path / "run")
    assert found.model_dump() == run.settings.model_dump() | {"storage": None}
    assert worker.identity == session.identity and worker.space.fingerprint == session.space.fingerprint
    assert worker.seed == session.seed and worker.worker_seed != session.worker_seed
    heard = []
    session.events.trial_ended = lambda record: heard.append(record.number)
    session.set_budget(2)
    worker.run()
    assert worker.spent == worker.spent_here == 2 and session.spent_here == 0
    # the search hears of what others ended, trains the rest, and nothing that they trained
    records = session.run(3)
    spent = [record for record in records if record.outcome in SPENT]
    assert len({record.architecture for record in spent}) == len(spent) == 3
    assert session.spent_here == 1 and set(heard) == {record.number for record in records}
    assert not session.study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


def test_what_runs_elsewhere_is_not_trained_here(tmp_path, settings, two_space_file):
    """While a worker trains one of two architectures, another worker trains the other one and no more."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    two = settings.model_copy(update={"space": str(two_space_file)})
    _, session, worker, _ = two_on(url, two, tmp_path / "run")
    session.set_budget(2)
    trained = []
    worker.events.trial_started = lambda architecture, _: trained.append(architecture)

    def started(architecture, _):
        trained.append(architecture)
        # ours is running: the worker may train the other one, and then waits for us
        worker.events.waiting = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.run()

    session.events.trial_started = started
    session.run(2)
    assert len(trained) == len(set(trained)) == 2 and session.spent == 2


def test_the_budget_counts_what_is_in_flight(tmp_path, settings):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    _, session, worker, _ = two_on(url, settings, tmp_path / "run")
    worker.events.trial_started = lambda *_: pytest.fail("one is enough, and it is being trained")

    def waiting(others):
        assert others == 1
        raise KeyboardInterrupt

    worker.events.waiting = waiting

    def started(*_):
        with pytest.raises(KeyboardInterrupt):
            worker.run()

    session.events.trial_started = started
    session.run(1)
    assert session.spent == 1


def test_a_worker_without_a_study_is_told_so(tmp_path, settings):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(StudyError, match=r"holds no study named nasdepth \(there: none yet\)"):
        join(url)
    Run.create(tmp_path / "run", settings.model_copy(update={"storage": url, "study_name": "phone"})).search(
        progress=False
    )
    with pytest.raises(
        StudyError, match=r"no study named nasdepth \(there: phone\); name one with `study_name`"
    ):
        join(url)
    assert join(url, "phone", progress=False)[0].study_name == "phone"


def test_a_local_worker_loads_the_plugins_of_its_search(tmp_path):
    (tmp_path / "mine.py").write_text("print('the plugin is here', flush=True)\n")
    worker = subprocess.Popen(
        [sys.executable, "-c", "from nasdepth.searching.workers import child; child()"],
        env=os.environ | {"NASDEPTH_PLUGINS": str(tmp_path / "mine.py")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # its input stays open: the end of it would stop the worker
    worker.stdin.write(json.dumps({"url": f"sqlite:///{tmp_path / 'study.db'}", "threads": 1}) + "\n")
    worker.stdin.flush()
    assert worker.wait(timeout=200) == 2
    said, errors = worker.communicate()
    assert said == "the plugin is here\n" and "holds no study named nasdepth" in errors


def test_what_a_worker_lacks_is_named_and_may_lie_elsewhere(tmp_path, settings, table_file):
    """The search's table is moved away: the worker names it, takes it from elsewhere, and compares."""
    own = tmp_path / "own.csv"
    for suffix in (".csv", ".yaml"):
        own.with_suffix(suffix).write_bytes(table_file.with_suffix(suffix).read_bytes())
    url = f"sqlite:///{tmp_path / 'study.db'}"
    changed = settings.model_copy(update={"storage": url, "table": str(own)})
    Run.create(tmp_path / "run", changed).search(progress=False)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for suffix in (".csv", ".yaml"):
        own.with_suffix(suffix).rename(moved / f"own{suffix}")
    with pytest.raises(Exception, match=rf"latency table {own} cannot be used .* with `table`"):
        join(url, progress=False)
    assert join(url, table=str(moved / "own.csv"), progress=False)
    with pytest.raises(StudyError, match="another latency table"):
        join(url, table=str(table_file.with_name("here.csv")), progress=False)
    with pytest.raises(StudyError, match="another data set"):
        join(url, table=str(moved / "own.csv"), data="scenes:20+6", progress=False)
    with pytest.raises(Exception, match=r"data set .*nowhere cannot be used .* with `data`"):
        join(url, table=str(moved / "own.csv"), data=str(tmp_path / "nowhere"), progress=False)


def test_a_worker_starts_from_the_weights_that_the_others_start_from(tmp_path, settings, monkeypatch):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search = Run.create(tmp_path / "run", settings.model_copy(update={"storage": url})).search(progress=False)
    family = search.space.definition.encoder.family[0]
    shared = search.study.user_attrs[SHARED]
    search.share(shared | {"pretrained_families": [family]})
    with pytest.raises(StudyError, match=f"trains {family} from ImageNet weights, which are not at hand"):
        join(url, progress=False)
    monkeypatch.setattr(run_module, "weights_here", lambda family: Start("here", pretrained=True))
    assert join(url, progress=False)
    search.share(shared)
    with pytest.raises(StudyError, match=f"trains {family} from random weights, but this machine has"):
        join(url, progress=False)


def test_searches_share_a_storage_by_the_study_name(tmp_path, settings):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for name, seed in (("pi", 1), ("phone", 2)):
        other = settings.model_copy(update={"storage": url, "study_name": name, "seed": seed})
        session = Run.create(tmp_path / name, other).search(progress=False)
        session.run(1)
        assert session.spent == 1
    assert sorted(optuna.get_all_study_names(url)) == ["phone", "pi"]


@pytest.mark.slow
def test_a_worker_that_was_asleep_gives_its_trial_up(postgres, tmp_path, settings):
    """A stopped process is missed; when it goes on, its candidate is another worker's, and it says so."""
    url = postgres.database("asleep")
    settings = settings.model_copy(update={"storage": url})
    session = Run.create(tmp_path / "run", settings).search(progress=False)
    session.set_budget(1)
    code = (
        "import sys, time\n"
        "from nasdepth.searching import SearchEvents, join\n"
        "ended = []\n"
        "def started(*_):\n"
        "    if not ended: print('started', flush=True); time.sleep(2)\n"
        "events = SearchEvents(trial_started=started, trial_ended=ended.append)\n"
        "join(sys.argv[1], events=events, progress=False)[0].run()\n"
        "print([record.note for record in ended], flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, url],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGSTOP)
    try:
        session.run(1)  # misses it after six seconds, and trains its candidate
        assert session.spent == session.spent_here == 1
    finally:
        process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert "another worker trains it" in said and process.returncode == 0
    assert session.spent == 1 and not session.study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


@pytest.mark.slow
def test_the_database_restarts_in_the_middle(postgres, tmp_path, settings):
    url = postgres.database("restart")
    heard, restarted = [], []

    def started(*_):
        if session.spent == 1 and not restarted:
            restarted.append(1)
            postgres.stop()
            threading.Timer(8, postgres.start).start()

    events = SearchEvents(
        trial_started=started,
        storage_away=lambda why, _: heard.append(why),
        storage_back=lambda: heard.append("back"),
    )
    run = Run.create(tmp_path / "run", settings.model_copy(update={"storage": url}))
    session = run.search(events, progress=False)
    records = session.run(3)
    assert session.spent == 3 and restarted and heard[-1] == "back" and len(heard) >= 2
    assert all(PASSWORD not in one for one in heard)
    assert {record.outcome for record in records} <= {Outcome.TRAINED, Outcome.REPEATED, Outcome.TOO_SLOW}


# the command line


def begin_search(tmp_path, settings, *arguments, **environment):
    """`nasdepth search` on a run that exists, since a command line has no word for short heartbeats."""
    Run.create(tmp_path / "run", settings).search(progress=False)
    resume = ("search", "--resume", "--out", tmp_path / "run", "--measure-top", 0)
    return nasdepth(*resume, *arguments, **environment)


def workers_at_work(process, url, folder, count):
    """Process ids of so many workers besides the front end, once they have begun to train."""
    pids, deadline = set(), time.monotonic() + 200
    while len(pids) < count and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
        if (folder / "worker-1.log").exists():
            pids |= at_work(optuna.load_study(study_name="nasdepth", storage=url)) - {process.pid}
    return pids


def running_trials(url):
    study = optuna.load_study(study_name="nasdepth", storage=url)
    return study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


@pytest.mark.slow
def test_workers_of_one_machine(tmp_path, settings):
    """One dies, is reported, and its candidate is trained; the results are written once, by the front end."""
    process = begin_search(tmp_path, settings, "--workers", 3, "--budget", 30)
    url = f"sqlite:///{tmp_path / 'run' / 'study.db'}"
    victims = workers_at_work(process, url, tmp_path / "run", 1)
    assert victims, process.communicate()
    os.kill(victims.pop(), signal.SIGKILL)
    said, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    assert re.search(r"worker \d was killed by SIGKILL; another one trains its candidate", errors), errors
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["best"] and "trials.csv" in said
    study = optuna.load_study(study_name="nasdepth", storage=url)
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    spent = [
        t.user_attrs["architecture"]
        for t in study.get_trials()
        if t.user_attrs.get("nasdepth", {}).get("outcome") in SPENT
    ]
    assert len(spent) == len(set(spent)) == 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_stops_all_workers_and_loses_nothing(tmp_path, settings, quick_recipe):
    # trainings that do not end, so that the signal finds every worker in the middle of one
    endless = settings.model_copy(update={"proxy": quick_recipe.with_(epochs=10_000)})
    process = begin_search(tmp_path, endless, "--workers", 3, "--budget", 500)
    url = f"sqlite:///{tmp_path / 'run' / 'study.db'}"
    pids = workers_at_work(process, url, tmp_path / "run", 2)
    assert len(pids) == 2, process.communicate()
    deadline = time.monotonic() + 100
    while sum(bool(trial.intermediate_values) for trial in running_trials(url)) < 3:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "--resume --out" in errors and "--workers 3" in errors
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not running_trials(url)
    study = optuna.load_study(study_name="nasdepth", storage=url)
    stopped = [
        t for t in study.get_trials() if t.user_attrs.get("nasdepth", {}).get("outcome") == "interrupted"
    ]
    queued = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
    assert len(queued) >= len({trial.user_attrs["architecture"] for trial in stopped}) == 3
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_a_password_is_kept_nowhere_and_asked_for_again(postgres, tmp_path, settings):
    url = postgres.database("secret")
    hidden = f"postgresql://searcher:***@127.0.0.1:{postgres.port}/secret"
    settings = settings.model_copy(update={"storage": url})
    # without the variable: what is missing is said; with it the search goes on
    process = begin_search(tmp_path, settings, "--budget", 1, NASDEPTH_STORAGE="")
    said = [*process.communicate(timeout=200)]
    assert process.returncode == 2 and hidden in said[-1] and "NASDEPTH_STORAGE" in said[-1]
    resume = ("search", "--resume", "--out", tmp_path / "run", "--measure-top", 0)
    for budget, options in (1, ("--json",)), (2, ()):
        process = nasdepth(*resume, "--budget", budget, *options, NASDEPTH_STORAGE=url)
        said += process.communicate(timeout=200)
        assert process.returncode == 0, said[-1]
    assert f"optuna-dashboard '{hidden}'" in said[-2]
    process = nasdepth("worker", NASDEPTH_STORAGE=url)
    said += process.communicate(timeout=200)
    assert process.returncode == 0 and hidden in said[-1] and "2 candidates are trained, 0 of" in said[-1]
    assert json.loads((tmp_path / "run" / "search.json").read_text())["storage"] == hidden
    said += [path.read_text(errors="replace") for path in (tmp_path / "run").iterdir()]
    assert not [text for text in said if "s3cret" in text]


def test_two_searches_at_once_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: new_run_folder(tmp_path / "runs"), range(64)))
    assert len(set(folders)) == 64 and all(folder.is_dir() for folder in folders)


def test_a_search_that_cannot_begin_leaves_no_folder(tmp_path, monkeypatch, settings):
    monkeypatch.setattr("nasdepth.searching.run.RUNS", tmp_path / "runs")
    monkeypatch.setattr("nasdepth.searching.run.new_run_folder.__defaults__", (tmp_path / "runs",))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    Run.create(tmp_path / "run", settings.model_copy(update={"storage": url})).search(progress=False)
    other = Run.create(None, settings.model_copy(update={"storage": url, "seed": 7}))
    with pytest.raises(StudyError, match="another seed"):
        other.search(progress=False)
    assert not list((tmp_path / "runs").iterdir())


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [share_of_cores(workers) for workers in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
