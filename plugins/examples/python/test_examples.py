from conclave_sdk import Candidate, Error, Score, Unavailable
from conclave_sdk.testing import Script, task
import pytest

from overlap import Overlap
from quorum import quorum

AGENTS = ["a", "b", "c", "d", "e"]


def test_a_quorum_stops_the_slow_agents():
    latency = {"a": 10, "b": 20, "c": 30, "d": 1_000, "e": 2_000}
    script = Script(lambda _: "Yes.", latency_ms=lambda request: latency[request.agent])
    outcome = script.deliberate(quorum, task("Is 7 prime?", AGENTS))
    assert outcome.ranked[0].candidate.jobs == [1, 2, 3]
    assert outcome.stopped_early
    assert script.cancelled == [4, 5]
    assert script.now_ms == 30


def test_without_a_quorum_the_best_score_wins():
    answers = {"a": "one", "b": "two", "c": "three"}
    script = Script(
        lambda request: answers[request.agent],
        grade=lambda all: [Score(1.0 if one.content == "two" else 0.1) for one in all],
    )
    outcome = script.deliberate(quorum, task("A number?", list(answers)))
    assert outcome.ranked[0].candidate.content == "two"
    assert not outcome.stopped_early


def test_the_impatient_go_on_with_whoever_answered():
    script = Script(
        lambda _: "yes", latency_ms=lambda request: 10 if request.agent == "a" else 90_000
    )
    outcome = script.deliberate(quorum, task("?", AGENTS), {"patience_s": 5})
    assert outcome.metadata["answered"] == "1"
    assert script.now_ms == 5_000
    assert script.cancelled == [2, 3, 4, 5]


def test_when_nobody_answers_the_strategy_fails():
    def down(_):
        raise Unavailable("down")

    with pytest.raises(Error, match="no agent answered"):
        Script(down).deliberate(quorum, task("?", AGENTS))


def test_the_candidate_that_is_like_the_others_scores_highest():
    candidates = [Candidate("a", text) for text in ("red blue", "red blue green", "black")]
    scores = Script(lambda _: "").evaluate(Overlap, task("?", ["a"]), candidates)
    values = [score.value for score in scores]
    assert values[0] == values[1] > values[2] == 0
    ignoring = Script(lambda _: "").evaluate(
        Overlap, task("?", ["a"]), candidates, {"ignore": ["green"]}
    )
    assert ignoring[0].value == 0.5
