"""The scorer ``overlap``: a candidate is as good as it is like the others.

The score is the mean similarity to the other candidates, which is minimum Bayes risk decoding (Kumar and
Byrne, NAACL 2004) with the Jaccard index of word sets as the gain. It asks no model.
"""

import re
from dataclasses import dataclass

from conclave_sdk import Candidate, Score, Scorer, Session, Task, export, param


@dataclass
class Params:
    """What a client may set."""

    ignore: list[str] = param([], doc="Words that do not count.", max_items=1000)


class Overlap(Scorer):
    name = "overlap"
    version = "0.1.0"
    summary = "Scores a candidate by the words that it shares with the others."
    params = Params

    async def evaluate(
        self, ctx: Session, task: Task, candidates: list[Candidate], params: Params
    ) -> list[Score]:
        ignored = {word.lower() for word in params.ignore}
        words = [set(re.findall(r"\w+", one.content.lower())) - ignored for one in candidates]
        return [
            score([similarity(own, other) for j, other in enumerate(words) if j != i])
            for i, own in enumerate(words)
        ]


def similarity(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def score(similarities: list[float]) -> Score:
    if not similarities:
        return Score(1.0, rationale="it is the only candidate")
    mean = sum(similarities) / len(similarities)
    return Score(mean, rationale=f"like {len(similarities)} others by {mean:.0%}")


WitWorld, Describe = export(Overlap)
