import pytest
from conclave_sdk import Candidate, Error
from conclave_sdk.testing import Script, task

from app import evaluate


def test_grades_become_scores():
    script = Script(
        lambda request: "9" if "Answer: yes" in request.messages[0].content else "Grade: 2.5"
    )
    candidates = [Candidate("ada", "yes"), Candidate("bob", "no")]
    scores = script.evaluate(evaluate, task("Is 7 prime?", ["ada", "bob"]), candidates)
    assert [score.value for score in scores] == [0.9, 0.25]


def test_what_is_no_grade_fails():
    script = Script(lambda request: "Nice.")
    with pytest.raises(Error, match="the model gave no grade from 0 to 10"):
        script.evaluate(evaluate, task("?", ["ada"]), [Candidate("ada", "yes")])
