"""Which items meet where they are made anew in turns, and what two processes make of them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from online_examples import learn, llama, short, weights_of
from process_groups import on_processes
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig, Turns
from rewarddiff.loop.schedule import minibatch_at, turn_at, turns_within
from rewarddiff.policies.online.config import StoredConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig


@given(
    items=st.integers(4, 40),
    batch_size=st.integers(1, 6),
    minibatches=st.integers(1, 4),
    iterations=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_a_turn_sees_all_of_its_items_in_every_iteration(
    items: int, batch_size: int, minibatches: int, iterations: int, seed: int
) -> None:
    config = TrainConfig(batch_size=batch_size, epochs=1)
    turns = Turns(minibatches, iterations)
    taken: list[int] = []
    steps = turns_within(items, config, turns)
    for turn in range(steps // turns.updates):
        places = turn_at(items, turn, config, turns, seed)
        # Turns are of one size, as large as was asked for where there are so many items.
        assert len(places) == min(items, batch_size * minibatches)
        taken += places
        for iteration in range(iterations):
            first = turn * turns.updates + iteration * minibatches
            parts = [
                minibatch_at(len(places), step, turns, seed)
                for step in range(first, first + minibatches)
            ]
            assert sorted(chain(*parts)) == list(range(len(places)))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    # In an epoch no item comes twice, and fewer than a turn's are left over.
    assert len(set(taken)) == len(taken)
    assert items - len(taken) < batch_size * minibatches


def test_steps_by_hand() -> None:
    # 10 prompts, 2 · 2 a turn: 2 turns an epoch, 3 in one and a half, of 2 · 3 steps each.
    turns = Turns(minibatches=2, iterations=3)
    assert turns_within(10, TrainConfig(batch_size=2, epochs=1.5), turns) == 18
    assert turns_within(10, TrainConfig(batch_size=2, epochs=1.5, max_steps=7), turns) == 7
    with pytest.raises(UserError, match="1 prompts cannot be cut into 2 minibatches"):
        turns_within(1, TrainConfig(), turns)


@pytest.mark.slow
def test_two_processes_train_as_one(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    code = """
from pathlib import Path
import torch
from safetensors.torch import save_file
from rewarddiff.processes import processes
from rewarddiff.policies.online.estimators import AdvantageConfig
from conftest import tiny_tokenizer
from online_examples import learn, llama, short, weights_of
tokenizer = tiny_tokenizer.__wrapped__()
config = short(advantage=AdvantageConfig("gae"), num_iterations=2)
model, result = learn(tokenizer, Path("out"), config, model=llama(tokenizer, dtype=torch.float64))
if processes().is_main_process:
    kl = torch.tensor(result.curve[-1]["objective/kl"])
    save_file({**weights_of(model), "kl": kl}, "ended.safetensors")
"""
    for status, error in on_processes(tmp_path, code):
        assert status == 0, error
    tokenizer = tiny_tokenizer
    config = short(advantage=AdvantageConfig("gae"), num_iterations=2)
    alone, result = learn(
        tokenizer, tmp_path / "alone", config, model=llama(tokenizer, dtype=torch.float64)
    )
    ended = load_file(tmp_path / "ended.safetensors")
    assert ended["kl"].item() == pytest.approx(result.curve[-1]["objective/kl"], rel=1e-5)
    for name, weight in weights_of(alone).items():
        torch.testing.assert_close(ended[name], weight, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_scorer_that_dies_in_one_of_two_processes_ends_both_and_they_go_on(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    # Responses of the baseline are drawn anew in every second turn, by both processes.
    code = """
import itertools, os
from pathlib import Path
import torch
from safetensors.torch import save_file
from rewarddiff.processes import processes
from rewarddiff.policies.online.config import StoredConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig
from conftest import tiny_tokenizer
from online_examples import learn, letters, llama, short, weights_of
tokenizer = tiny_tokenizer.__wrapped__()
calls = itertools.count(1)
def reward(groups):
    if processes().process_index == 1 and next(calls) == DIES_AT:
        raise ConnectionError("the server is gone")
    return letters(groups)
config = short(
    reward=RewardConfig("contrastive"), advantage=AdvantageConfig("reinforce"),
    baseline=StoredConfig(k=2, refresh=2),
)
model = llama(tokenizer, dtype=torch.float64)
learn(tokenizer, Path("out"), config, reward=reward, model=model)
if processes().is_main_process:
    save_file(weights_of(model), "ended.safetensors")
"""
    # In each process the first call is for the baseline, and the fifth is in the fourth turn.
    for rank, (status, error) in enumerate(on_processes(tmp_path, code.replace("DIES_AT", "5"))):
        assert status == 1
        said = "ConnectionError: the server is gone"
        assert (
            said if rank == 1 else "FailedElsewhere: the server is gone (in process 1)"
        ) in error
    assert (tmp_path / "out" / "checkpoint" / "state.json").exists()
    for status, error in on_processes(tmp_path, code.replace("DIES_AT", "0")):
        assert status == 0, error
    config = short(
        reward=RewardConfig("contrastive"), advantage=AdvantageConfig("reinforce"),
        baseline=StoredConfig(k=2, refresh=2),
    )  # fmt: skip
    alone, _ = learn(
        tiny_tokenizer, tmp_path / "alone", config,
        model=llama(tiny_tokenizer, dtype=torch.float64),
    )  # fmt: skip
    ended = load_file(tmp_path / "ended.safetensors")
    for name, weight in weights_of(alone).items():
        torch.testing.assert_close(ended[name], weight, rtol=1e-6, atol=1e-6)
