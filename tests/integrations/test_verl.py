"""Scorers in verl, which does not install without a GPU: against its documented signatures.

`FakeDataProto`, the base class and the way a class is found by its configuration are written from
verl's documentation (Reward Loop, Data interface) and stand where the package would.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rewarddiff.errors import UserError
from rewarddiff.integrations import verl
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.build import load_scorer

TURNS = [{"role": "user", "content": "Name a colour."}]


def expected(folder: Path, response: str) -> float:
    group = Group("", (Message("user", "Name a colour."),), (response,))
    ((reward,),) = load_scorer(folder).rewards([group])  # type: ignore[attr-defined]
    return float(reward)


def test_compute_score_is_called_as_verl_calls_it(reward_folder: Path) -> None:
    """verl binds the configuration's keywords, and calls with keywords only."""
    function = partial(verl.compute_score, scorer=str(reward_folder))
    for prompt in (TURNS, np.array(TURNS, dtype=object)):  # as Parquet gives lists
        result = function(
            data_source="hh",
            solution_str=" Red.",
            ground_truth="",
            extra_info={"prompt": prompt, "num_turns": None, "rollout_reward_scores": {}},
        )
        assert result == {"score": pytest.approx(expected(reward_folder, " Red."), abs=1e-6)}


def test_threads_share_one_scorer(reward_folder: Path) -> None:
    """verl calls a function that is not asynchronous from a pool of threads."""
    verl._opened.cache_clear()
    responses = [f"answer {i}" for i in range(16)]

    def score(response: str) -> float:
        extra_info = {"question": TURNS}
        return verl.compute_score(
            "hh", response, "", extra_info, scorer=str(reward_folder), prompt_key="question"
        )["score"]

    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(score, responses))
    assert scores == pytest.approx([expected(reward_folder, r) for r in responses], abs=1e-6)
    assert verl._opened.cache_info().misses == 1


def test_a_failure_is_an_error_and_no_reward(reward_folder: Path, difference_folder: Path) -> None:
    with pytest.raises(UserError, match="verl: extra_info of a row of hh has no prompt;"):
        verl.compute_score("hh", " Red.", "", None, scorer=str(reward_folder))
    with pytest.raises(UserError, match="compares responses, and its prompt has no other one"):
        verl.compute_score(
            "hh", " Red.", "", {"prompt": "Name a colour."}, scorer=str(difference_folder)
        )


@dataclass
class FakeDataProto:
    """A batch: tensors with one row per sample, and arrays of objects beside them.

    One number takes a row out (an item), a slice gives a smaller batch.
    """

    batch: dict[str, torch.Tensor]
    non_tensor_batch: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.batch["responses"])

    def __getitem__(self, rows: int | slice) -> FakeDataProto:
        tensors = {name: tensor[rows] for name, tensor in self.batch.items()}
        arrays = {name: array[rows] for name, array in self.non_tensor_batch.items()}
        return FakeDataProto(tensors, arrays)


class FakeBase:
    """`RewardManagerBase` of verl's reward loop."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.compute_score = compute_score


@pytest.fixture
def fake_verl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = "verl.experimental.reward_loop.reward_manager.base"
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
    monkeypatch.setattr(sys.modules[path], "RewardManagerBase", FakeBase, raising=False)
    yield
    sys.modules.pop("rewarddiff.integrations.verl_manager", None)


def found_by_verl(module_path: str, name: str) -> Any:
    """What verl's `load_extern_object` gives for a path of the kind pkg://."""
    module = importlib.import_module(module_path.removeprefix("pkg://").replace("/", "."))
    assert hasattr(module, name)
    return getattr(module, name)


def batch(tokenizer: PreTrainedTokenizerFast, responses: list[str]) -> FakeDataProto:
    """Prompts padded on the left, responses on the right, as verl lays them out."""
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in responses]
    width = max(map(len, ids)) + 1
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    rows = [[*row, end] + [pad] * (width - len(row) - 1) for row in ids]
    attention = [[0, 1, 1] + [1] * (len(row) + 1) + [0] * (width - len(row) - 1) for row in ids]
    prompts = np.empty(len(responses), dtype=object)
    prompts[:] = [TURNS] * len(responses)
    return FakeDataProto(
        {
            "prompts": torch.full((len(responses), 3), pad),
            "responses": torch.tensor(rows),
            "attention_mask": torch.tensor(attention),
        },
        {"raw_prompt": prompts},
    )


def manager(scorer: Path | None, tokenizer: PreTrainedTokenizerFast) -> Any:
    kind = found_by_verl("pkg://rewarddiff.integrations.verl", "RewardManager")
    options = {"scorer": str(scorer)} if scorer else None
    config = SimpleNamespace(reward={"reward_kwargs": options})
    return kind(
        config=config,
        tokenizer=tokenizer,
        compute_score=None,
        reward_router_address=None,
        reward_model_tokenizer=None,
    )


@pytest.mark.usefixtures("fake_verl")
def test_the_manager_scores_what_verl_rolled_out(
    reward_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    responses = [" Red.", " I would say green.", " No"]
    data = batch(tiny_tokenizer, responses)
    rewards = manager(reward_folder, tiny_tokenizer)
    whole = asyncio.run(rewards.run_batch(data))
    for response, reward in zip(responses, whole, strict=True):
        assert reward["reward_score"] == pytest.approx(expected(reward_folder, response), abs=1e-6)
        assert reward["reward_extra_info"] == {}
    # Of a trajectory of several sequences the last one counts.
    last = asyncio.run(rewards.run_single(data))
    assert last["reward_score"] == pytest.approx(whole[-1]["reward_score"], abs=1e-6)


@pytest.mark.usefixtures("fake_verl")
def test_the_manager_compares_the_responses_of_a_batch(
    difference_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rewards = manager(difference_folder, tiny_tokenizer)
    pair = asyncio.run(rewards.run_batch(batch(tiny_tokenizer, [" Red.", " No"])))
    first, second = (reward["reward_score"] for reward in pair)
    assert first == -second != 0
    with pytest.raises(UserError, match="no other one in this call"):
        asyncio.run(rewards.run_single(batch(tiny_tokenizer, [" Red."])))


@pytest.mark.usefixtures("fake_verl")
def test_a_batch_without_prompts_is_refused(
    reward_folder: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    data = batch(tiny_tokenizer, [" Red."])
    del data.non_tensor_batch["raw_prompt"]
    with pytest.raises(UserError, match=r"no raw_prompt; set data\.return_raw_chat=True"):
        asyncio.run(manager(reward_folder, tiny_tokenizer).run_single(data))


@pytest.mark.usefixtures("fake_verl")
def test_a_manager_without_a_scorer_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"verl: no scorer; add \+reward\.reward_kwargs\.scorer="):
        manager(None, tiny_tokenizer)


def test_without_verl_there_is_no_manager() -> None:
    with pytest.raises(UserError, match=r"the reward manager needs verl 0\.8 or later"):
        found_by_verl("pkg://rewarddiff.integrations.verl", "RewardManager")
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = verl.Other
