"""The best candidates are trained again, and what they reach then decides."""

import numpy as np
import pytest

from nasdepth.errors import DivergedError
from nasdepth.models import resolve
from nasdepth.searching import Outcome, Run, SearchEvents, Settings, TrialRecord, best
from nasdepth.searching.confirm import confirmations
from nasdepth.searching.records import leader

DATA = "scenes:24+6"


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe):
    return Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)


def records_of(*scores):
    names = ("litedepth", "gylab2021", "fastdepth")
    return [
        TrialRecord(number, resolve(name), Outcome.TRAINED, latency_ms=ms, si_rmse=si_rmse)
        for number, (name, (si_rmse, ms)) in enumerate(zip(names, scores, strict=False))
    ]


def test_the_winner_is_the_best_of_those_that_were_confirmed():
    lucky, solid, other = records_of((0.20, 2.0), (0.21, 2.0), (0.30, 2.0))
    assert best([lucky, solid, other]) is lucky
    lucky, solid = lucky.with_confirmation(0.23), solid.with_confirmation(0.20)
    assert best([lucky, solid, other]) is solid and leader([lucky, solid, other]) is lucky
    assert solid.to_row()["confirmed_score"] == solid.confirmed_score > lucky.confirmed_score
    # one that diverged the second time is out
    diverged = solid.with_confirmation(None)
    assert diverged.outcome is Outcome.DIVERGED and best([lucky, diverged]) is lucky


def test_a_search_confirms_the_best_and_remembers(tmp_path, settings, in_shared_cache):
    asked = []
    events = SearchEvents(confirmed=lambda record, result: asked.append((record.architecture, result)))
    search = Run.create(tmp_path, settings).search(events, progress=False)
    search.run(4)
    records = search.confirm_top(2, 2)
    assert len(asked) == 2 and all(result.epochs == 2 for _, result in asked)
    top = sorted(records, key=lambda one: -one.log2_score)[:2]
    confirmed = [one for one in records if one.confirmed_si_rmse is not None]
    assert {one.architecture for one in confirmed} == {one for one, _ in asked}
    assert {one.architecture for one in top} == {one.architecture for one in confirmed}
    assert best(records).confirmed_score == max(one.confirmed_score for one in confirmed)
    # another seed and length: not the proxy's own number again
    assert all(one.confirmed_si_rmse != one.si_rmse for one in confirmed)
    kept = confirmations(search.study)
    for one, result in asked:
        assert kept[one] == result and len(result.image_errors) == 2
        assert result.si_rmse == pytest.approx(np.mean(result.image_errors), abs=1e-4)
    # a later call, or a resume, trains only what is new
    resumed = Run.open(tmp_path).search(events, progress=False)
    assert len(resumed.confirm_top(2, 2)) == len(records) and len(asked) == 2
    assert len([one for one in resumed.confirm_top(3, 2) if one.confirmed_si_rmse is not None]) == 3


def test_one_that_diverges_makes_room_for_the_next(tmp_path, settings, in_shared_cache, monkeypatch):
    search = Run.create(tmp_path, settings).search(progress=False)
    first = best(search.run(3)).architecture
    longer = search.objective.longer(1)

    class Fails:
        rungs = (1,)

        def begin(self, architecture):
            if architecture == first:
                raise DivergedError("the loss is nan")
            return longer.begin(architecture)

    monkeypatch.setattr(type(search.objective), "longer", lambda self, epochs: Fails())
    records = search.confirm_top(1, 1)
    assert next(one for one in records if one.architecture == first).outcome is Outcome.DIVERGED
    assert best(records).architecture != first and best(records).confirmed_score
