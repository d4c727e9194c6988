"""Storages: how they are named, opened by many at once, waited for, and kept silent about."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from private_postgres import PASSWORD
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import nasdepth.searching.storage as storage_module
from nasdepth.errors import StudyError
from nasdepth.searching.claims import Recovery, holder
from nasdepth.searching.founding import found, settle
from nasdepth.searching.records import ATTRIBUTE, Outcome
from nasdepth.searching.storage import open_storage, shown, whole_url, why

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def url(request, tmp_path):
    """An empty storage of each kind."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return server.database(request.node.name.replace("[", "-").replace("]", ""))
    return f"{request.param}:///{tmp_path / 'study'}"


def at_once(count, work):
    """What `work(number)` answers in so many threads that begin at the same moment."""
    barrier = threading.Barrier(count)

    def begin(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def open_study(url, heartbeat_s=10):
    storage = open_storage(url, heartbeat_s)
    found(storage, "s", ["maximize"])
    return storage, optuna.load_study(study_name="s", storage=storage)


# URLs


@pytest.mark.parametrize(
    ("url", "without"),
    [
        ("postgresql://me:pa55@db/nas", "postgresql://me:***@db/nas"),
        ("mysql+pymysql://me:p%40ss@db:3306/nas", "mysql+pymysql://me:***@db:3306/nas"),
        ("postgresql://me:p@ss@db/nas", "postgresql://me:***@db/nas"),
        ("postgresql://me:p?a/ss@db/nas?sslmode=require", "postgresql://me:***@db/nas?sslmode=require"),
        ("postgresql://me@db/nas?password=pa55&x=1", "postgresql://me@db/nas?password=***&x=1"),
        ("postgresql://me@db:5432/nas", "postgresql://me@db:5432/nas"),
        ("sqlite:////runs/a:b@c/study.db", "sqlite:////runs/a:b@c/study.db"),
        ("journal:///runs/study.log", "journal:///runs/study.log"),
    ],
)
def test_a_shown_url_has_no_password(url, without):
    assert shown(url) == without == shown(without)


def test_an_error_is_told_without_the_password():
    url = "postgresql://me:p%40ss@db/nas?sslpassword=abc"
    error = OperationalError("SELECT 1", {}, Exception("cannot log in with p@ss, p%40ss or abc\nmore"))
    assert why(error, url) == "(builtins.Exception) cannot log in with ***, *** or ***"


def test_a_hidden_password_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("NASDEPTH_STORAGE", raising=False)
    whole, hidden = "postgresql://me:pa55@db/nas", "postgresql://me:***@db/nas"
    assert whole_url(whole) == whole and whole_url("sqlite:///x.db") == "sqlite:///x.db"
    with pytest.raises(
        StudyError, match="kept in no file; put the whole URL into the environment variable NASD"
    ):
        whole_url(hidden)
    monkeypatch.setenv("NASDEPTH_STORAGE", whole)
    assert whole_url(hidden) == whole
    monkeypatch.setenv("NASDEPTH_STORAGE", "postgresql://me:secret9@elsewhere/nas")
    with pytest.raises(StudyError, match="elsewhere") as error:
        whole_url(hidden)
    assert "secret9" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "is no storage URL; it looks like postgresql://"),
        ("postgresql:/db", "is no storage URL"),
        ("nosuch://me:pa55@db/nas", "is no storage URL"),
        ("postgresql://me:pa55@55@db/nas", "write @ as %40"),
        ("journal://study.log", "three slashes"),
        ("journal:///no/such/folder/study.log", "/no/such/folder does not exist"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("oracle://me:pa55@db/nas", "the driver of oracle is not installed"),
    ],
)
def test_a_wrong_url_is_named(url, words):
    with pytest.raises(StudyError) as error:
        open_storage(url)
    assert words in str(error.value) and shown(url) in str(error.value) and "pa55" not in str(error.value)


def test_a_missing_driver_names_the_extra(run_python):
    done = run_python(
        "import sys\n"
        "sys.modules['psycopg'] = sys.modules['pymysql'] = None\n"
        "from nasdepth.errors import StudyError\n"
        "from nasdepth.searching.storage import open_storage\n"
        "for scheme in ('postgresql', 'mysql'):\n"
        "    try:\n"
        "        open_storage(f'{scheme}://me:pa55@127.0.0.1/nas')\n"
        "    except StudyError as error:\n"
        "        print(error)\n"
    )
    first, second = done.stdout.splitlines()
    assert "pip install 'nasdepth[postgres]'" in first and "pip install 'nasdepth[mysql]'" in second
    assert "pa55" not in done.stdout + done.stderr


def test_a_wrong_password_is_said_at_once(postgres):
    url = postgres.database("locked").replace("s3cret", "gue55ed")
    began = time.monotonic()
    with pytest.raises(StudyError, match="password authentication failed") as error:
        open_storage(url)
    assert "gue55ed" not in str(error.value) and PASSWORD not in str(error.value)
    assert time.monotonic() - began < storage_module._OPENING_PATIENCE_S


# many at once


def test_eight_open_an_empty_storage_and_one_makes_the_study(url):
    queue = [{"x": value} for value in range(5)]

    def work(_):
        storage, study = open_storage(url), None
        founded = found(storage, "s", ["maximize"])
        study = optuna.load_study(study_name="s", storage=storage)
        settle(study, {"space": "a"}, queue, founded=founded, where="here")
        return founded

    assert sum(at_once(8, work)) == 1
    study = optuna.load_study(study_name="s", storage=open_storage(url))
    assert [trial.system_attrs["fixed_params"] for trial in study.trials] == queue
    with pytest.raises(StudyError, match=r"here: this study was made with another space \(a, now b\)"):
        settle(study, {"space": "b"}, queue, founded=False, where="here")


def test_who_dies_while_making_the_study_is_replaced(url, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.founding._PATIENCE_S", 0.3)
    queue = [{"x": value} for value in range(3)]
    _, study = open_study(url)
    study.enqueue_trial(queue[0])  # and dies
    settle(study, {"space": "a"}, queue, founded=False, where="here")
    assert [trial.system_attrs["fixed_params"] for trial in study.trials] == queue


def test_one_of_many_gets_an_architecture(url):
    """Eight workers want the same architecture at the same moment, again and again."""
    count, rounds = 8, 5
    opened = [open_study(url) for _ in range(count)]

    def work(number):
        storage, study = opened[number]
        held = []
        for one in range(rounds):
            trial = study.ask()
            storage.record_heartbeat(trial._trial_id)
            if holder(study, trial, f"architecture {one}", lambda: None) is None:
                held.append(one)
                # whoever announces it now, finds it being trained or trained
                time.sleep(0.01)
                record = {"outcome": str(Outcome.TRAINED)}
                trial.set_user_attr(ATTRIBUTE, record)
                study.tell(trial, 1.0)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return held

    held = [one for answer in at_once(count, work) for one in answer]
    assert sorted(held) == list(range(rounds))


def test_a_lower_number_waits_for_a_higher_one_that_did_not_see_it(url):
    """The announcement of the lower comes between the reading and the claim of the higher."""
    _, study = open_study(url)
    low, high = study.ask(), study.ask()
    high.set_user_attr("architecture", "a")
    looks = []

    def waiting():
        looks.append(1)
        if len(looks) == 3:
            high.set_user_attr("claimed", True)

    held = holder(study, low, "a", waiting)
    assert held.number == high.number and len(looks) == 3


def test_a_lower_number_takes_what_a_higher_one_left(url):
    _, study = open_study(url)
    low, high = study.ask(), study.ask()
    high.set_user_attr("architecture", "a")
    assert holder(study, low, "a", lambda: study.tell(high, state=optuna.trial.TrialState.FAIL)) is None


# the dead


def test_a_trial_without_a_sign_of_life_is_put_back_once(url):
    """However many notice it, and with what was decided about it."""
    opened = [open_study(url, heartbeat_s=1) for _ in range(4)]
    storage, study = opened[0]
    study.enqueue_trial({"x": 3})
    trial = study.ask()
    assert trial.suggest_int("x", 0, 9) == 3
    trial.set_user_attr("worker", "w")
    trial.set_user_attr("architecture", "a")
    trial.set_user_attr("claimed", True)
    storage.record_heartbeat(trial._trial_id)
    recoveries = [Recovery(study, storage) for storage, study in opened]
    deadline = time.monotonic() + 30
    while study.get_trials()[0].state is optuna.trial.TrialState.RUNNING and time.monotonic() < deadline:
        at_once(4, lambda number: recoveries[number]())
        time.sleep(0.5)
    recoveries[0]()
    first, *others = study.get_trials()
    assert first.state is optuna.trial.TrialState.FAIL
    # two that notice at the same moment may queue it twice; the second is known when it is asked for
    assert 1 <= len(others) <= 4 and {one.state for one in others} == {optuna.trial.TrialState.WAITING}
    again = study.ask()
    assert again.suggest_int("x", 0, 9) == 3
    # what the dead one announced is not the next one's word
    assert again.user_attrs == {}
    for _ in range(3):
        recoveries[0]()
    assert len(study.get_trials()) == 1 + len(others)


def test_a_worker_that_dies_before_its_first_sign_is_missed_too(url):
    storage, study = open_study(url, heartbeat_s=1)
    study.enqueue_trial({"x": 3})
    study.ask()
    recovery = Recovery(study, storage)
    deadline = time.monotonic() + 30
    while len(study.get_trials()) == 1 and time.monotonic() < deadline:
        recovery()
        time.sleep(0.5)
    states = [trial.state for trial in study.get_trials()]
    assert states == [optuna.trial.TrialState.FAIL, optuna.trial.TrialState.WAITING]
    assert study.ask().suggest_int("x", 0, 9) == 3


def test_who_dies_between_failing_and_putting_back_is_repaired(url):
    storage, study = open_study(url)
    study.enqueue_trial({"x": 3})
    trial = study.ask()
    trial.suggest_int("x", 0, 9)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    Recovery(study, storage)()
    assert [one.state.name for one in study.get_trials()] == ["FAIL", "WAITING"]


def test_what_kills_every_worker_is_given_up(url):
    storage, study = open_study(url)
    recovery = Recovery(study, storage)
    study.enqueue_trial({"x": 3})
    deaths = 0
    while any(trial.state is optuna.trial.TrialState.WAITING for trial in study.get_trials()):
        trial = study.ask()
        trial.suggest_int("x", 0, 9)
        assert holder(study, trial, "a", lambda: None) is None
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        deaths += 1
        recovery()
    assert deaths == 4
    trial = study.ask()
    assert holder(study, trial, "a", lambda: None).number == 3


# a storage that goes away


def test_a_database_that_restarts_is_waited_for(postgres):
    storage, study = open_study(postgres.database("restarted"), heartbeat_s=1)
    heard = []
    storage.away = lambda reason, seconds: heard.append(reason)
    storage.back = lambda: heard.append("back")
    trial = study.ask()
    trial.set_user_attr("worker", "w")
    storage.record_heartbeat(trial._trial_id)
    postgres.stop()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(trial.set_user_attr, "key", "value")
        time.sleep(8)
        assert not writing.done()
        postgres.start()
        writing.result(timeout=60)
    assert len(heard) == 2 and heard[1] == "back" and PASSWORD not in heard[0]
    assert study.get_trials()[0].user_attrs["key"] == "value"
    # no worker could give a sign of life: none is missed yet
    Recovery(study, storage)()
    assert study.get_trials()[0].state is optuna.trial.TrialState.RUNNING


def test_patience_ends(postgres, monkeypatch):
    monkeypatch.setattr(storage_module, "_RUNNING_PATIENCE_S", 1.0)
    storage, study = open_study(postgres.database("gone"))
    postgres.stop()
    try:
        with pytest.raises(storage_module.STORAGE_ERRORS) as error:
            study.get_trials()
        assert PASSWORD not in why(error.value, storage._url)
    finally:
        postgres.start()


def test_a_storage_in_memory_is_its_own():
    first, second = open_storage("memory://"), open_storage("memory://")
    study = optuna.create_study(storage=first, study_name="one")
    with pytest.raises(KeyError):
        optuna.load_study(storage=second, study_name="one")
    trial = study.ask()
    study.tell(trial, 1.0)
    Recovery(study, first)()
    assert [one.value for one in optuna.load_study(storage=first, study_name="one").trials] == [1.0]


def test_an_access_ends_before_ctrl_c_is_heard(tmp_path):
    """Interrupted, it would keep its lock on the file for as long as its traceback lives."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    interrupted = []

    def interrupt(session, *_):
        if not interrupted:
            interrupted.append(session)
            signal.raise_signal(signal.SIGINT)

    event.listen(Session, "before_commit", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            study.set_user_attr("written", True)
    finally:
        event.remove(Session, "before_commit", interrupt)
    assert interrupted and study.user_attrs["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
