"""How far the people who voted say the same."""

from __future__ import annotations

from collections.abc import Iterable

from rewarddiff.data.votes import Vote, ratings
from rewarddiff.evaluation.raters import panel_agreement
from rewarddiff.results import PanelAgreement


def people_agreement(votes: Iterable[Vote]) -> PanelAgreement:
    """Return how far annotators say the same of the pairs that two or more of them graded.

    Args:
        votes: on one scale, as `data.vote_files.read_votes` returns them; skipped ones count nothing.
    """
    grades, items, _ = ratings(votes)
    prompts = [item.votes[0].texts[0] for item in items]
    return panel_agreement("people", grades, prompts, comparable=True)
