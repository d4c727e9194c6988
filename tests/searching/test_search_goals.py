"""What a search is for."""

import numpy as np
import pytest

from nasdepth.architecture import Architecture
from nasdepth.errors import StudyError
from nasdepth.score import log2_score
from nasdepth.searching import Outcome, Settings, TrialRecord, best
from nasdepth.searching.goals import GOALS, Goal, parse_goal, register_goal
from nasdepth.searching.records import leader

SMALL = Architecture.parse("64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,up-nearest-bilinear")


def record(number, si_rmse, latency_ms):
    return TrialRecord(number, SMALL, Outcome.TRAINED, latency_ms=latency_ms, si_rmse=si_rmse)


def test_the_score_is_the_challenges():
    goal = parse_goal("score")
    for pair in ((0.2773, 46.0), (0.1, 0.5), (1.0, 4000.0)):
        assert goal.merit(*pair) == pytest.approx(log2_score(*pair))
        assert goal.si_rmse_for(goal.merit(*pair), pair[1]) == pytest.approx(pair[0])
    np.testing.assert_allclose(goal.octaves_sd(np.array([1.0, 8.0]), np.array([0.1, 0.2])), [0.1, 0.2])


@pytest.mark.parametrize("text", ["score", "score:exponent=60,constant=2", "quality", "pareto"])
def test_less_error_is_more_merit_and_more_time_never_is(text):
    goal = parse_goal(text)
    assert goal.merit(0.2, 5.0) > goal.merit(0.25, 5.0)
    assert goal.merit(0.2, 5.0) >= goal.merit(0.2, 6.0)
    merits = goal.merit(np.array([0.2, 0.3]), np.array([5.0, 1.0]))
    assert merits == pytest.approx([goal.merit(0.2, 5.0), goal.merit(0.3, 1.0)])
    assert goal.si_rmse_for(goal.merit(0.2, 5.0), 5.0) == pytest.approx(0.2)


def test_goals_disagree_on_the_winner():
    fast, good = record(0, 0.30, 1.0), record(1, 0.25, 9.0)
    assert best([fast, good]) is leader([fast, good]) is fast
    for text in ("quality", "score:exponent=100"):
        assert best([fast, good], parse_goal(text)) is leader([fast, good], parse_goal(text)) is good
    again = fast.with_confirmation(0.24)
    assert best([again, good], parse_goal("quality")) is again


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("qualty", "did you mean quality"),
        ("quality:exponent=3", "no parameter 'exponent'"),
        ("score:exponent=big", "'big'; it must be a number"),
        ("score:exponent=-1", "above 0"),
        ("score:constant=0", "constant is 0"),
        ("", "no such goal"),
    ],
)
def test_what_is_no_goal_is_named(text, said):
    with pytest.raises(StudyError, match="`objective`") as error:
        parse_goal(text)
    assert said in str(error.value)
    with pytest.raises(StudyError, match="`objective`"):
        Settings.of(objective=text)


def test_a_plugin_adds_a_goal(monkeypatch):
    monkeypatch.setattr("nasdepth.searching.goals.GOALS", dict(GOALS))

    @register_goal("smooth-limit")
    def _smooth(limit_ms: float = 10.0) -> Goal:
        """Half an octave for each octave above a limit."""
        return Goal(20, lambda ms: 0.5 * np.log2(np.maximum(ms / limit_ms, 1)))

    goal = Settings.of(objective="smooth-limit:limit_ms=4").goal
    assert goal.merit(0.2, 4.0) == goal.merit(0.2, 1.0) == goal.merit(0.2, 16.0) + 1
    with pytest.raises(ValueError, match="twice"):
        register_goal("smooth-limit")(_smooth)
