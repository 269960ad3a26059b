"""Verdicts beside the samples of a run: each on its own row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rewarddiff.pipeline import verdicts_stage
from rewarddiff.pipeline.verdicts import Answers
from rewarddiff.pipeline.win_rates import Judged
from rewarddiff.records import Group, Message
from rewarddiff.results import PromptSamples
from rewarddiff.verdicts import Verdicts, joined


def test_prompts_that_read_alike_keep_their_own_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text and a conversation in which the user says it are two prompts, and read the same."""
    groups = (Group("0", "Why?", ("x", "y")), Group("1", (Message("user", "Why?"),), ("x", "y")))
    pair = ("dpo+judge", "dpo")
    verdicts = joined([Verdicts.of([(0, 1)], np.array([value])) for value in (1.0, -1.0)])
    judged = Judged(
        answers={0: Answers(pair, groups)},
        stated={0: {"first": {pair: verdicts}}},
        voters=["first"],
        panels=(),
        units={"first": "scores"},
    )
    monkeypatch.setattr(verdicts_stage, "judged_of", lambda run: judged)
    recipe = SimpleNamespace(
        judges={"first": None}, seeds=(0,), evaluation=SimpleNamespace(prompts=None)
    )
    run: Any = SimpleNamespace(recipe=recipe, splits={"test": groups})
    samples = [PromptSamples("Why?", {}, {}), PromptSamples("Why?", {}, {})]
    shown = list(verdicts_stage.with_verdicts(run, samples))
    assert [sample.verdicts for sample in shown] == [{"first": "win"}, {"first": "lose"}]
