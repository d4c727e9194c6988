"""Candidates on the real device: before their training where the table is unsure, and before one wins."""

import csv
from pathlib import Path

import pytest
import yaml

from nasdepth.devices import LocalDevice, Measurement
from nasdepth.errors import DeviceError, StudyError
from nasdepth.latency import LatencyTable, architecture_kernels
from nasdepth.models import resolve
from nasdepth.searching import (
    CandidateBench,
    Outcome,
    Run,
    SearchEvents,
    Settings,
    TrialRecord,
    best,
    differences,
    pareto_front,
)
from nasdepth.searching.measure import judged

DATA = "scenes:24+6"


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe):
    return Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)


@pytest.fixture
def two(settings, two_space_file, monkeypatch):
    """Settings over a space of two architectures, which is soon known to be exhausted."""
    monkeypatch.setattr("nasdepth.searching.stopping._REPEATS_BEFORE_GIVING_UP", 30)
    return settings.model_copy(update={"space": str(two_space_file)})


class Listener:
    """Hears what is started and what is measured."""

    def __init__(self):
        self.started, self.asked, self.answers = [], [], []

    def events(self, **more):
        heard = dict(
            trial_started=lambda architecture, latency_ms: self.started.append((architecture, latency_ms)),
            measuring=lambda architectures: self.asked.extend(architectures),
            measured=lambda architecture, measurement: self.answers.append(measurement),
        )
        return SearchEvents(**heard | more)


class Damaging(LocalDevice):
    """This machine, handed damaged files of chosen networks: its runtime refuses them in its own words."""

    def __init__(self, *refused, threads=1):
        super().__init__(threads)
        self.refused = {one.key for one in refused}

    def measure(self, models, **options):
        for path in models:
            if Path(path).stem in self.refused:
                path.write_bytes(b"no model at all")
        return super().measure(models, **options)


def other_table(folder, table_file, **card_changes) -> str:
    """A copy of the table whose card says something else."""
    folder.mkdir()
    copy = folder / table_file.name
    copy.write_bytes(table_file.read_bytes())
    card = yaml.safe_load(table_file.with_suffix(".yaml").read_text())
    copy.with_suffix(".yaml").write_text(yaml.safe_dump(card | card_changes))
    return str(copy)


def test_the_device_at_hand_is_the_one_of_the_card_or_every_difference_is_named(table_file):
    card = LatencyTable.load(table_file).card
    assert differences(LocalDevice(1).describe(), card) == ""
    other = card.model_copy(update={"soc": "BCM2711", "device": "pi", "os": "Linux 5.4"})
    words = differences(LocalDevice(2).describe(), other)
    assert "threads is 2, the table's is 1" in words and "the table's is 'BCM2711'" in words
    assert "os " not in words and "device" not in words


def test_the_best_are_measured_once_before_a_winner_is_named(tmp_path, settings):
    heard = Listener()
    run = Run.create(tmp_path / "run", settings)
    session = run.search(heard.events(), progress=False)
    estimated = session.run(4)
    assert heard.asked == [] and {one.latency_source for one in estimated} == {"estimate"}
    records = session.measure_top(2)
    ranked = sorted(
        (one for one in records if one.outcome is Outcome.TRAINED), key=lambda one: -one.log2_score
    )
    assert [one.latency_source for one in ranked[:2]] == ["measured"] * 2
    assert ranked[0] == best(records) and set(heard.asked) >= {one.architecture for one in ranked[:2]}
    times_ms = dict(zip(heard.asked, (one.latency_ms for one in heard.answers), strict=True))
    for one in ranked[:2]:
        assert one.latency_ms == one.measured_latency_ms == times_ms[one.architecture] > 0
        # the same kernels on the same machine: far from equal would mean another unit or another network
        assert 0.2 < one.measured_latency_ms / one.estimated_latency_ms < 5

    # never twice: not in this session, not after a resume
    asked = list(heard.asked)
    assert session.measure_top(2) == records and heard.asked == asked
    again = Listener()
    resumed = Run.open(run.folder).search(again.events(), progress=False)
    assert resumed.measure_top(2) == records and again.asked == []
    assert resumed.spent == session.spent == 4

    run.write_results(records)
    rows = list(csv.DictReader((run.folder / "trials.csv").open()))
    for row, one in zip(rows, records, strict=True):
        assert row["latency_source"] == (one.latency_source or "")
        assert row["measured_latency_ms"] == ("" if one.latency_source == "estimate" else row["latency_ms"])
    assert run.best_architecture() == best(records).architecture


def test_who_is_overtaken_by_the_measurement_does_not_win():
    measurement = Measurement(Path("x.tflite"), latency_ms=9.0, median_ms=9.0, min_ms=9.0, runs=50)
    fast = TrialRecord(
        0, resolve("litedepth"), Outcome.TRAINED, latency_ms=1.0, estimated_latency_ms=1.0, si_rmse=0.2
    )
    slow = TrialRecord(1, resolve("litedepth"), Outcome.TRAINED, latency_ms=2.0, si_rmse=0.2)
    assert best([fast, slow]) is fast and pareto_front([fast, slow]) == [fast]
    measured = judged(fast, measurement)
    assert best([measured, slow]) is slow and pareto_front([measured, slow]) == [slow]
    assert (measured.latency_ms, measured.estimated_latency_ms) == (9.0, 1.0)
    # a limit holds for what is measured, too
    assert judged(fast, measurement, max_latency_ms=5).outcome is Outcome.TOO_SLOW
    assert judged(fast, measurement, max_latency_ms=10).outcome is Outcome.TRAINED


def test_unsure_candidates_are_measured_before_their_training(tmp_path, settings):
    heard = Listener()
    unsure = settings.model_copy(update={"measure_when_unsure": True, "unsure_percent": 0.001})
    session = Run.create(tmp_path / "run", unsure).search(heard.events(), progress=False)
    records = [one for one in session.run(2) if one.outcome is Outcome.TRAINED]
    assert len(records) == 2
    for one in records:
        assert one.architecture in heard.asked and one.latency_source == "measured"
        assert (one.architecture, one.measured_latency_ms) in heard.started
        told = session.study.get_trials()[one.number].value
        assert told == pytest.approx(one.log2_score)
    assert len(heard.asked) == len(set(heard.asked))


def test_sure_candidates_are_not(tmp_path, settings):
    heard = Listener()
    sure = settings.model_copy(update={"measure_when_unsure": True, "unsure_percent": 10_000})
    session = Run.create(tmp_path / "run", sure).search(heard.events(), progress=False)
    session.run(1)
    assert heard.asked == [] and len(heard.started) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_the_device_refuses_is_discarded_with_its_words(tmp_path, two, moment):
    unsure = two.model_copy(update={"measure_when_unsure": moment == "before", "unsure_percent": 0.001})
    heard = Listener()
    run = Run.create(tmp_path / "run", unsure)
    session = run.search(heard.events(), progress=False)
    refused, kept = session.space.architectures()
    session.bench = CandidateBench(Damaging(refused), run.table.card)
    session.run(2)
    records = session.measure_top(2)
    (answer,) = [one for one in heard.answers if one.error]
    discarded = [one for one in records if one.outcome is Outcome.REFUSED]
    assert discarded and {one.architecture for one in discarded} == {refused}
    assert all(one.note == answer.error for one in discarded)
    assert best(records).architecture == kept and len(pareto_front(records)) == 1
    assert sorted(map(str, heard.asked)) == sorted(map(str, (refused, kept)))
    # what was trained has been paid for; what was refused before has not
    assert session.spent == (1 if moment == "before" else 2)
    assert (refused in dict(heard.started)) is (moment == "after")


def test_a_kernel_that_the_table_says_is_refused_discards_the_candidate(tmp_path, two, table_file):
    first, second = Run.create(tmp_path / "all", two).search(progress=False).space.architectures()
    only = next(one for one in architecture_kernels(first) if one not in architecture_kernels(second))
    table = LatencyTable.load(table_file)
    timings = {kernel: timing for kernel, timing in table.timings.items() if kernel != only}
    lame = LatencyTable("lame", table.card, timings, {only: "Didn't find op for builtin opcode"})
    lame.save(tmp_path)
    heard = Listener()
    without = two.model_copy(update={"table": str(tmp_path / "lame.csv")})
    session = Run.create(tmp_path / "run", without).search(heard.events(), progress=False)
    records = session.run(2)
    assert set(dict(heard.started)) == {second} and session.spent == 1
    refused = [one for one in records if one.outcome is Outcome.REFUSED]
    assert refused and all(str(only) in one.note and "builtin opcode" in one.note for one in refused)


def test_a_device_that_refuses_everything_ends_the_search(tmp_path, two, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.stopping._REFUSED_BEFORE_GIVING_UP", 5)
    unsure = two.model_copy(update={"measure_when_unsure": True, "unsure_percent": 0.001})
    run = Run.create(tmp_path / "run", unsure)
    session = run.search(progress=False)
    session.bench = CandidateBench(Damaging(*session.space.architectures()), run.table.card)
    with pytest.raises(StudyError, match="the device refused 5 proposals in a row"):
        session.run(1)
    assert session.spent == 0 and len(session.records) == 5


class Lost(LocalDevice):
    """This machine, unplugged."""

    def measure(self, models, **options):
        raise DeviceError("ssh://pi@board: connection lost")
        yield


@pytest.mark.parametrize("device", [Lost, None])
def test_a_lost_device_or_ctrl_c_puts_the_candidate_back(tmp_path, settings, device):
    unsure = settings.model_copy(update={"measure_when_unsure": True, "unsure_percent": 0.001})
    asked = []

    def measuring(architectures):
        asked.extend(architectures)
        if device is None:
            raise KeyboardInterrupt

    run = Run.create(tmp_path / "run", unsure)
    session = run.search(SearchEvents(measuring=measuring), progress=False)
    if device is not None:
        session.bench = CandidateBench(device(), run.table.card)
    with pytest.raises(KeyboardInterrupt if device is None else DeviceError):
        session.run(1)
    heard = Listener()
    resumed = Run.open(run.folder).search(heard.events(), progress=False)
    resumed.run(1)
    assert heard.asked[0] == asked[0] and heard.started[0][0] == asked[0]


def test_another_device_than_the_tables_is_refused_or_said(tmp_path, settings, table_file):
    pis = settings.model_copy(update={"table": other_table(tmp_path / "pi", table_file, soc="BCM2711")})
    for change in ({"device": "local"}, {"measure_when_unsure": True}):
        with pytest.raises(DeviceError, match=r"soc is .*the table's is 'BCM2711'.*`device`"):
            Run.create(tmp_path / "run", pis.model_copy(update=change)).search(progress=False)
        assert not (tmp_path / "run").exists()
    run = Run.create(tmp_path / "run", pis)
    assert "BCM2711" in run.unmeasured_because and "`device`" in run.unmeasured_because
    session = run.search(progress=False)
    assert session.bench is None
    with pytest.raises(StudyError, match="needs the latency table's own device"):
        session.measure_top(1)
    assert Run(tmp_path, settings).unmeasured_because == ""
    two_threads = settings.model_copy(update={"device": "local?threads=2"})
    with pytest.raises(DeviceError, match="threads is 2, the table's is 1"):
        Run.create(tmp_path / "threads", two_threads).search(progress=False)
    off = settings.model_copy(update={"measure_top": 0})
    assert Run(tmp_path, off).unmeasured_because == "`measure_top` is 0"
