import pytest
from conclave_sdk import Error, Score, Unavailable
from conclave_sdk.testing import Script, task

from app import deliberate


def test_the_best_score_wins():
    script = Script(
        lambda request: f"{request.agent} says hello",
        grade=lambda all: [Score(0.9 if one.agent == "bob" else 0.1) for one in all],
    )
    outcome = script.deliberate(deliberate, task("Say hello.", ["ada", "bob", "eve"]))
    assert outcome.ranked[0].candidate.content == "bob says hello"
    assert len(script.requests) == 3


def test_when_nobody_answers_it_fails():
    def down(request):
        raise Unavailable("down")

    with pytest.raises(Error, match="no agent answered: no model server could answer: down"):
        Script(down).deliberate(deliberate, task("?", ["ada"]))
