"""Recorded trainings: real, short ones on rendered scenes, shared out among processes, kept as a file."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from nasdepth.architecture import Architecture
from nasdepth.errors import DataError, NasdepthError, StudyError
from nasdepth.recording import (
    FIDELITIES,
    FULL,
    PROXY,
    RANDOM_START,
    Fidelity,
    Job,
    RecordEvents,
    RecordFolder,
    TrainingRecord,
    collect_records,
    counted,
    draw_architectures,
    draw_plan,
    load_records,
    planned_jobs,
    record_training,
    write_records,
)
from nasdepth.searching import Run, Settings
from nasdepth.space import SearchSpace
from nasdepth.training import load_recipe

DATA = "scenes:24+6"
LITE = Architecture.parse("64x64,mobilenetv3_small_minimal@0.5:2,none-conv-k1-w8,up-nearest-nearest")


def macs_like(one):
    """Something that varies with an architecture as a latency does."""
    stages = sum(stage.width * stage.kernel**2 for stage in one.decoder)
    return one.input_height * one.input_width * (one.encoder.width + stages / 500) / 1e4


@pytest.fixture(scope="module")
def plan(tiny_space_file, table_file, shared_cache):
    return draw_plan(
        str(tiny_space_file),
        DATA,
        str(table_file),
        architectures=5,
        max_latency_ms=1e6,
        second_seeds=2,
        fully=0,
        fully_twice=0,
        compared=0,
        random_starts=0,
    )


@pytest.fixture
def images(plan, tmp_path, in_shared_cache):
    return RecordFolder(tmp_path, plan).open_data()


def test_architectures_are_spread_over_latencies_and_families():
    space = SearchSpace.load("depth")
    drawn = draw_architectures(space, 60, macs_like, 200)
    assert len(set(drawn)) == 60 and drawn[: len(space.named())] == list(space.named().values())
    random_ones = drawn[len(space.named()) :]
    assert all(macs_like(one) <= 200 for one in random_ones)
    octaves = Counter(round(np.log2(macs_like(one))) for one in random_ones)
    assert len(octaves) >= 5
    families = Counter(one.encoder.family for one in random_ones)
    assert set(families) == set(space.definition.encoder.family) and max(families.values()) <= 8
    # the beginning is spread as the whole is
    assert len({one.encoder.family for one in random_ones[:20]}) >= 12
    assert drawn == draw_architectures(space, 60, macs_like, 200)
    assert drawn != draw_architectures(space, 60, macs_like, 200, seed=1)


def test_too_few_architectures_below_a_limit_is_an_error(two_space_file):
    with pytest.raises(NasdepthError, match="3 are asked for, but only 2 of 90 random ones"):
        draw_architectures(SearchSpace.load(two_space_file), 3, macs_like, 1e9)


def test_every_kind_of_training_is_always_done_to_the_same_share(tiny_space_file):
    architectures = list(SearchSpace.load(tiny_space_file).architectures())[:20]
    jobs = planned_jobs(architectures, second_seeds=10, fully=4, compared=4)
    assert len(jobs) == len(set(jobs)) == 20 + 10 + 4 + 4 * (len(FIDELITIES) - 3)
    half = Counter((job.fidelity, job.seed) for job in jobs[: len(jobs) // 2])
    assert half[PROXY, 0] == pytest.approx(10, abs=1) and half[PROXY, 1] == pytest.approx(5, abs=1)
    assert half[FULL, 0] == 2 and half["epochs1", 0] == 2


def test_a_record_is_what_the_training_gave(images):
    fit, held_out = images
    record = record_training(LITE, PROXY, FIDELITIES[PROXY], fit, held_out, seed=0)
    assert record.outcome == "trained" and record.architecture == LITE and record.fidelity == PROXY
    assert len(record.si_rmse) == len(record.loss) == len(record.seconds) == 4
    assert record.final == record.si_rmse[-1] == pytest.approx(np.mean(record.image_errors), abs=1e-4)
    assert len(record.image_errors) == len(held_out)
    assert not record.pretrained and record.machine and record.commit and record.threads >= 1
    again = record_training(LITE, PROXY, FIDELITIES[PROXY], fit, held_out, seed=0)
    assert again.si_rmse == record.si_rmse and again.image_errors == record.image_errors
    other = record_training(LITE, PROXY, FIDELITIES[PROXY], fit, held_out, seed=1)
    assert other.si_rmse != record.si_rmse
    assert TrainingRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_training_in_parts_goes_on_from_its_own_weights(images):
    fit, held_out = images
    one = record_training(LITE, "one", Fidelity(parts=(8,)), fit, held_out, seed=0)
    both = record_training(LITE, "both", Fidelity(parts=(8, 2)), fit, held_out, seed=0)
    assert len(both.si_rmse) == 10 and both.si_rmse[:8] == one.si_rmse
    scratch = record_training(LITE, "scratch", Fidelity(parts=(2,)), fit, held_out, seed=1000)
    assert both.loss[8] < scratch.loss[0]


def test_fidelities_change_what_they_say(images):
    fit, held_out = images
    fewer = record_training(LITE, "half", Fidelity(images=0.5), fit, held_out, seed=0)
    whole = record_training(LITE, PROXY, Fidelity(), fit, held_out, seed=0)
    assert fewer.loss != whole.loss
    small = FIDELITIES["input50%"].trained(replace(LITE, input_height=160, input_width=96))
    assert (small.input_height, small.input_width) == (64, 64)
    assert FIDELITIES["input50%"].trained(LITE).input_height == 32
    assert [recipe.epochs for recipe in FIDELITIES["continued1+3"].recipes()] == [1, 3]
    assert FIDELITIES[FULL].recipes()[0].epochs == 30


def test_a_folder_trains_all_and_nothing_twice(plan, tmp_path, images):
    folder = RecordFolder.create(tmp_path / "records", plan)
    with pytest.raises(StudyError, match="exists already"):
        RecordFolder.create(tmp_path / "records", plan)
    started = []
    folder.events = RecordEvents(started=started.append)
    assert folder.run(*images) == 7 == len(started)
    assert counted(folder.records()) == {PROXY: {0: 5, 1: 2}}
    assert RecordFolder.open(tmp_path / "records").run(*images) == 0
    assert not list((tmp_path / "records" / "claims").glob("*.pt"))


def test_random_starts_and_second_full_trainings_follow_from_results(plan, tmp_path, images, monkeypatch):
    monkeypatch.setitem(FIDELITIES, FULL, Fidelity(parts=(1,)))
    wider = plan.model_copy(update={"fully": 3, "fully_twice": 1, "random_starts": 2, "second_seeds": 0})
    folder = RecordFolder.create(tmp_path / "records", wider)
    # this family has no weights here, so there is nothing to compare a random start with
    folder.run(*images)
    assert counted(folder.records()) == {FULL: {0: 3, 1: 1}, PROXY: {0: 5}}
    latency = dict(zip(wider.architectures, wider.latency_ms, strict=True))
    full = [one for one in folder.records() if one.fidelity == FULL and one.seed == 0]
    best = max(full, key=lambda one: -20 * one.final - np.log2(latency[str(one.architecture)]))
    (again,) = [one for one in folder.records() if one.seed == 1]
    assert again.architecture == best.architecture
    pretrained = replace(next(one for one in folder.records() if one.fidelity == PROXY), pretrained=True)
    job = Job(pretrained.architecture, PROXY, 0)
    (tmp_path / "records" / "trainings" / f"{job.key}.json").write_text(json.dumps(pretrained.to_dict()))
    assert folder.jobs()[0] == Job(pretrained.architecture, RANDOM_START, 0)


def test_a_claimed_training_is_left_to_the_other_process(plan, tmp_path, images, monkeypatch):
    folder = RecordFolder.create(tmp_path / "records", plan)
    first = folder.jobs()[0]
    with folder._claim(first) as ours:
        assert ours
        assert folder.run(*images) == 6
        assert first.architecture not in [one.architecture for one in folder.records() if one.seed == 0]
    assert folder.run(*images) == 1


def test_a_killed_process_blocks_nothing(plan, tmp_path, in_shared_cache):
    folder = RecordFolder.create(tmp_path / "records", plan)
    command = [sys.executable, "-m", "nasdepth", "record", str(tmp_path / "records")]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    claims = tmp_path / "records" / "claims"
    while not list(claims.glob("*.lock")):
        assert killed.poll() is None, killed.stderr.read().decode()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = {path.name for path in (tmp_path / "records" / "trainings").glob("*.json")}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert len(folder.records()) == 7 and before <= {
        path.name for path in (tmp_path / "records" / "trainings").glob("*.json")
    }


def test_other_images_are_refused(plan, tmp_path, in_shared_cache):
    folder = RecordFolder.create(tmp_path / "records", plan)
    with pytest.raises(StudyError, match=r"scenes:12\+6: its fingerprint is"):
        folder.open_data("scenes:12+6")
    with pytest.raises(StudyError, match=r"no plan|cannot be read"):
        RecordFolder.open(tmp_path / "nothing")


def test_a_damaged_training_is_named(plan, tmp_path):
    folder = RecordFolder.create(tmp_path / "records", plan)
    path = tmp_path / "records" / "trainings" / "x.proxy.0.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(StudyError, match=r"x\.proxy\.0\.json: is damaged .* delete it"):
        folder.records()


def test_a_file_of_records_comes_back_and_can_be_gone_on_with(plan, tmp_path, images):
    folder = RecordFolder.create(tmp_path / "records", plan)
    for job in folder.jobs()[:2]:
        folder._train_if_free(job, *images)
    records = collect_records(folder, *images)
    write_records(tmp_path / "kept", records)
    first = (tmp_path / "kept.csv.gz").read_bytes()
    write_records(tmp_path / "kept.csv.gz", records)
    assert (tmp_path / "kept.csv.gz").read_bytes() == first
    back = load_records(tmp_path / "kept")
    assert back == records and back.of(PROXY) and not back.of(FULL)
    assert str(tmp_path) not in (tmp_path / "kept.yaml").read_text()
    again = RecordFolder.create(tmp_path / "again", back.card.plan, back.trainings)
    assert again.run(*again.open_data(DATA)) == 5
    epochs = [len(one.si_rmse) for one in again.records()]
    assert all(a == b for a, b in pairwise(epochs))


def test_damaged_files_of_records_are_named(plan, tmp_path, images):
    folder = RecordFolder.create(tmp_path / "records", plan)
    folder._train_if_free(folder.jobs()[0], *images)
    write_records(tmp_path / "kept", collect_records(folder, *images))
    with pytest.raises(DataError, match=r"other\.csv\.gz: cannot be read"):
        load_records(tmp_path / "other")
    frame = pd.read_csv(tmp_path / "kept.csv.gz")
    frame["si_rmse"] = "0.3 much"
    frame.to_csv(tmp_path / "kept.csv.gz", index=False)
    with pytest.raises(DataError, match="line 2 is damaged"):
        load_records(tmp_path / "kept")
    (tmp_path / "kept.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        load_records(tmp_path / "kept")


def test_the_command_begins_goes_on_and_writes(tmp_path, tiny_space_file, table_file, in_shared_cache):
    options = ["--architectures", "3", "--second-seeds", "1", "--fully", "0", "--random-starts", "0"]
    options += ["--data", DATA, "--space", str(tiny_space_file), "--table", str(table_file)]
    options += ["--max-latency-ms", "1000000"]

    def run(*more):
        command = [sys.executable, "-m", "nasdepth", "record", *more]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ)

    missing = run(str(tmp_path / "records"))
    assert missing.returncode == 2 and "--data" in missing.stderr
    none = run(str(tmp_path / "records"), *options, "--no-train", "--json")
    assert none.returncode == 0, none.stderr
    assert json.loads(none.stdout)["wanted"] == 4 and json.loads(none.stdout)["records"] == {}
    done = run(str(tmp_path / "records"), "--archive", str(tmp_path / "kept.csv.gz"))
    assert done.returncode == 0, done.stderr
    assert "4 of 4" in done.stdout and "si-RMSE" in done.stderr
    assert len(load_records(tmp_path / "kept").trainings) == 4


def test_what_a_search_has_trained_is_taken_over(
    plan, tmp_path, tiny_space_file, table_file, in_shared_cache, monkeypatch
):
    quick = load_recipe("proxy", {"epochs": 1})
    monkeypatch.setitem(FIDELITIES, PROXY, Fidelity(overrides={"epochs": 1}))
    settings = Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick, seed=7)
    run = Run.create(tmp_path / "run", settings)
    trained = [one for one in run.search(progress=False).run(3) if one.outcome == "trained"]
    folder = RecordFolder.create(tmp_path / "records", plan)
    assert folder.add_run(run) == len(trained) == 3 and folder.add_run(run) == 0
    found = {one.architecture: one for one in folder.records()}
    for one in trained:
        record = found[one.architecture]
        assert record.seed == 7 and record.final == pytest.approx(one.si_rmse, abs=1e-5)
        assert sum(record.seconds) == pytest.approx(one.training_s, abs=0.02)
    records = collect_records(folder, *folder.open_data())
    write_records(tmp_path / "kept", records)
    assert load_records(tmp_path / "kept") == records
    other = plan.model_copy(update={"data_fingerprint": "another"})
    with pytest.raises(StudyError, match=r"data set is .*, here it is another"):
        RecordFolder.create(tmp_path / "others", other).add_run(run)
