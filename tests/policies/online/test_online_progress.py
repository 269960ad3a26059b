"""What stands beside the progress of a training on own samples: its loss alone says nothing there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from online_examples import learn, semi, short
from transformers import PreTrainedTokenizerFast

from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.progress import Task
from rewarddiff.writing import figure


@pytest.mark.parametrize("config", [short(advantage=AdvantageConfig("rloo")), semi()])
def test_it_is_the_score_and_the_kl_of_the_samples(
    config: Any,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []

    def advance(self: Task, amount: float = 1, note: str = "") -> None:
        if self.name == "policy":
            notes.append(note)

    monkeypatch.setattr(Task, "advance", advance)
    _, result = learn(tiny_tokenizer, tmp_path, config)
    expected = []
    for line in result.curve:
        score, kl = line["objective/scores"], line["objective/kl"]
        expected.append(f"score {figure(score, '.3f')}, KL {figure(kl, '.3f')}")
    assert notes == expected
    assert len(notes) == 4
