"""microbatch_tokens: auto on a GPU whose memory is made up."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_examples import EXACT, made, tiny

from rewarddiff.loop.budget import Budget, has_room
from rewarddiff.loop.objective import AUTO_TOKENS, TrainConfig
from rewarddiff.policies.objectives.pairs import SimPO
from rewarddiff.policies.policy import PolicyConfig, train_policy

AUTO = TrainConfig(microbatch_tokens="auto")


class MadeUp:
    """A GPU on which a pass takes `a_token` bytes a token and `fixed` ones beside."""

    def __init__(self, *, room: int, a_token: int, fixed: int) -> None:
        self.room, self.a_token, self.fixed = room, a_token, fixed
        self.weights = 500  # held beside, and no part of what a pass takes
        self.pass_tokens = 0

    def held(self) -> int:
        return self.weights

    def peak(self) -> int:
        return self.weights + self.taken(self.pass_tokens)

    def left(self) -> int:
        return self.room

    def taken(self, tokens: int) -> int:
        return self.fixed + self.a_token * tokens


def steps(budget: Budget, memory: MadeUp, batch: int, count: int = 20) -> list[int]:
    """The tokens of each step's passes, of batches of so many tokens."""
    tokens = []
    for _ in range(count):
        full, rest = divmod(batch, budget.tokens)
        passes = [budget.tokens] * full + [rest] * bool(rest)
        budget.begin()
        memory.pass_tokens = max(passes)
        budget.end()
        budget.adapt(passes)
        tokens.append(max(passes))
    return tokens


def test_passes_double_until_the_next_would_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    # 0.8 · 100,000 bytes: 16,384 tokens of 4 bytes and 1,000 fixed fit, twice as many do not.
    memory = MadeUp(room=100_000, a_token=4, fixed=1000)
    budget = Budget(AUTO, memory, "dpo")
    tokens = steps(budget, memory, batch=1_000_000)
    assert tokens[:5] == [2048, 4096, 8192, 16_384, 16_384]
    assert set(tokens[4:]) == {16_384}
    assert [record.message for record in caplog.records] == [
        "dpo: microbatch_tokens: auto is 16384 here"
    ]


def test_no_step_takes_more_than_there_is() -> None:
    for room in (1000, 9000, 50_000, 300_000):
        memory = MadeUp(room=room, a_token=3, fixed=700)
        budget = Budget(AUTO, memory, "dpo")
        later = steps(budget, memory, batch=1_000_000)[1:]
        assert max(map(memory.taken, later)) <= room or budget.tokens == AUTO_TOKENS


def test_a_step_in_one_pass_wants_no_more() -> None:
    memory = MadeUp(room=10**9, a_token=1, fixed=0)
    budget = Budget(AUTO, memory, "dpo")
    assert max(steps(budget, memory, batch=5000)) == 5000
    assert budget.tokens == 8192


def test_without_a_gpu_and_with_a_number_nothing_changes() -> None:
    memory = MadeUp(room=10**9, a_token=1, fixed=0)
    assert Budget(AUTO, None, "dpo").tokens == 2048
    fixed = Budget(TrainConfig(microbatch_tokens=300), memory, "dpo")
    steps(fixed, memory, batch=100_000)
    assert fixed.tokens == 300


def test_a_pass_that_was_not_full_is_scaled_up() -> None:
    # 1,000 tokens took 100 bytes; 8,000 would take 800 of the 0.8 · 1,000.
    assert has_room(used=100, tokens=1000, planned=8000, left=1000)
    assert not has_room(used=101, tokens=1000, planned=8000, left=1000)


def test_a_training_whose_passes_grow_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(config: TrainConfig, output: Path) -> Any:
        model = tiny()
        policy = PolicyConfig(SimPO(), None, config)
        train_policy(model, made(16), policy, output=output, weights="tiny")
        return model

    fixed = trained(replace(EXACT, epochs=3), tmp_path / "fixed")
    tokens: list[int] = []

    class Small(Budget):
        """Begins with passes of 50 tokens, on a GPU that is never full."""

        def __init__(self, config: TrainConfig, _: Any, name: str) -> None:
            super().__init__(config, MadeUp(room=10**9, a_token=1, fixed=0), name)
            self.tokens = 50

        def adapt(self, passes: list[int]) -> None:
            super().adapt(passes)
            tokens.append(self.tokens)

    monkeypatch.setattr("rewarddiff.loop.train.Budget", Small)
    grown = trained(replace(EXACT, epochs=3, microbatch_tokens="auto"), tmp_path / "grown")
    assert tokens[0] == 100
    assert max(tokens) >= 200
    for ours, theirs in zip(grown.parameters(), fixed.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
