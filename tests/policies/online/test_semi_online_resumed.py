"""Semi-online training that is interrupted, or of two processes: it ends as the whole one does."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from online_examples import (
    STEADY,
    at_call,
    learn,
    letters,
    llama,
    semi,
    weights_of,
)
from process_groups import on_processes
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from rewarddiff import machine
from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.errors import UserError
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.records import Group

TIMES = ("seconds", "time/sampling", "time/reading", "time/scoring")


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


def lines(curve: Sequence[dict[str, Any]]) -> list[str]:
    """Metrics without their times, as text: a NaN equals a NaN."""
    return [str({k: v for k, v in line.items() if k not in TIMES}) for line in curve]


@pytest.mark.parametrize("objective", ["dpo", "beta-dpo", "pro", "kto"])
def test_an_interrupted_training_goes_on_to_the_bit(
    objective: Any, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = semi(
        objective=objective, pairs="all", num_iterations=2,
        coefficient=CoefficientConfig(alpha=0.5, normalise="mean"),
        train=replace(STEADY, batch_size=2, max_steps=10),
    )  # fmt: skip
    whole, result = learn(tiny_tokenizer, tmp_path / "whole", config)
    # Told to stop in the second draw, it does so after the first of that draw's four steps.
    stop = at_call(2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 5"):
        learn(tiny_tokenizer, tmp_path / "parts", config, reward=stop)
    model, resumed = learn(tiny_tokenizer, tmp_path / "parts", config)
    expected = weights_of(whole)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, expected[name]), name
    assert lines(resumed.curve) == lines(result.curve)


def test_a_scorer_that_dies_loses_nothing(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def die() -> None:
        raise ConnectionError("the server is gone")

    whole, _ = learn(tiny_tokenizer, tmp_path / "whole", semi())
    with pytest.raises(ConnectionError, match="gone"):
        learn(tiny_tokenizer, tmp_path / "parts", semi(), reward=at_call(2, die))
    asked: list[int] = []

    def counting(groups: Sequence[Group]) -> Any:
        asked.append(len(groups))
        return letters(groups)

    model, _ = learn(tiny_tokenizer, tmp_path / "parts", semi(), reward=counting)
    assert asked == [4]  # of two draws the second one
    expected = weights_of(whole)
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, expected[name]), name


def test_a_checkpoint_of_other_options_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stop = at_call(2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_tokenizer, tmp_path, semi(), reward=stop)
    with pytest.raises(UserError, match="of another training"):
        learn(tiny_tokenizer, tmp_path, semi(objective=DPO(beta=0.2)))


@pytest.mark.slow
def test_two_processes_train_as_one(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    code = """
from pathlib import Path
import torch
from safetensors.torch import save_file
from rewarddiff.processes import processes
from conftest import tiny_tokenizer
from online_examples import learn, llama, weights_of
from online.test_semi_online_resumed import weighted
tokenizer = tiny_tokenizer.__wrapped__()
model, result = learn(tokenizer, Path("out"), weighted(), model=llama(tokenizer, dtype=torch.float64))
if processes().is_main_process:
    kl = torch.tensor(result.curve[-1]["objective/kl"])
    save_file({**weights_of(model), "kl": kl}, "ended.safetensors")
"""
    for status, error in on_processes(tmp_path, code):
        assert status == 0, error
    alone, result = learn(
        tiny_tokenizer, tmp_path / "alone", weighted(),
        model=llama(tiny_tokenizer, dtype=torch.float64),
    )  # fmt: skip
    ended = load_file(tmp_path / "ended.safetensors")
    assert ended["kl"].item() == pytest.approx(result.curve[-1]["objective/kl"], rel=1e-5)
    for name, weight in weights_of(alone).items():
        torch.testing.assert_close(ended[name], weight, rtol=1e-6, atol=1e-6)


def weighted() -> SemiOnlineConfig:
    """Coefficients on a scale of all processes' pairs."""
    return semi(pairs="all", coefficient=CoefficientConfig(alpha=0.5, normalise="mean"))
