"""Both sides of the contest of reward models learn the same, of a tiny model; nothing is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.contest import BATCH, Outcome, Task
from benchmarks.reward import comparisons, require_same, run_ours, run_trl, shared_and_own
from benchmarks.rows import Row, write_rows
from benchmarks.throughput import reward_model

ROWS = [Row(f"Is it {i}?", f" Yes, {i}." + "!" * (i % 5), " No") for i in range(2 * BATCH)]


@pytest.fixture(scope="module")
def task(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A model whose padding is its end token, as that of SmolLM2-135M-Instruct."""
    folder = tmp_path_factory.mktemp("reward")
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    tokenizer.pad_token = tokenizer.eos_token
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((policy_folder / name).read_bytes())
    tokenizer.save_pretrained(folder)
    write_rows(ROWS, folder / "rows.jsonl")
    model = reward_model(folder / "model", str(folder))
    return Task(str(model), folder / "rows.jsonl", "fp32")


def test_both_start_alike_and_learn_the_same(task: Task) -> None:
    outcomes = {"ours": run_ours(task), "trl": run_trl(task)}
    require_same(outcomes, "fp32")
    ours, trl = outcomes.values()
    assert len(ours.losses) == 2  # steps
    assert ours.losses[0] == pytest.approx(trl.losses[0], rel=1e-6)
    assert abs(ours.losses[0] - 0.6931) > 1e-4  # ln 2, which any weights without a say have
    # A byte is a token: of rows 8 to 15 the prompts, and the responses with an end token each.
    timed = ROWS[BATCH:]
    for outcome in (ours, trl):
        assert outcome.pairs == BATCH
        assert outcome.cpu_seconds > 0
        assert outcome.prompt_tokens == sum(len(row.prompt) + 1 for row in timed)  # and " "
        rest = sum(len(row.chosen) + len(row.rejected) for row in timed)
        assert outcome.response_tokens == rest  # less " " twice, and two end tokens


def test_the_first_loss_is_that_of_texts_read_at_their_end_token(task: Task) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(task.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    gaps = []
    for row in ROWS[:BATCH]:
        scores = []
        for response in (row.chosen, row.rejected):
            ids = tokenizer(
                row.prompt + response + tokenizer.eos_token, return_tensors="pt"
            ).input_ids
            states = model.model(ids).last_hidden_state
            scores.append(model.score(states[0, -1]))
        gaps.append(scores[0] - scores[1])
    loss = -torch.nn.functional.logsigmoid(torch.stack(gaps)).mean().detach()
    assert run_ours(task).losses[0] == pytest.approx(loss.item(), rel=1e-5)


def outcome(losses: tuple[float, ...], **changed: Any) -> Outcome:
    figures = {"pairs": 8, "seconds": 2.0, "prompt_tokens": 900, "response_tokens": 700}
    sizes = {"model_bytes": 100, "peak_bytes": 300, "cpu_seconds": 4.0}
    return Outcome(**{**figures, **sizes, **changed}, losses=losses)


def test_other_work_stops_the_contest() -> None:
    ours = outcome((0.6, 0.5))
    require_same({"ours": ours, "trl": outcome((0.60001, 0.5))}, "fp32")
    with pytest.raises(RuntimeError, match="losses of step 1"):
        require_same({"ours": ours, "trl": outcome((0.6002, 0.5))}, "fp32")
    require_same({"ours": ours, "trl": outcome((0.6002, 0.5))}, "bf16")
    with pytest.raises(RuntimeError, match="response_tokens"):
        require_same({"ours": ours, "trl": replace(ours, response_tokens=720)}, "fp32")
    with pytest.raises(RuntimeError, match="losses of step 2"):
        require_same({"ours": ours, "trl": outcome((0.6, float("nan")))}, "fp32")


def test_tokens_in_common_count_once() -> None:
    assert shared_and_own([([1, 2, 3], [1, 2, 4, 5]), ([1], [1, 7])]) == (3, 4)
    assert shared_and_own([]) == (0, 0)


def test_three_lines() -> None:
    speed, cpu, memory = comparisons(
        "bf16", {"ours": [outcome(())], "trl": [outcome((), seconds=16.0, peak_bytes=1100)]}
    )
    assert speed.line() == "bench reward-bf16-trl ours=4 peer=0.5 ratio=8 unit=pairs/s"
    assert cpu.line() == "bench reward-bf16-trl-cpu ours=2 peer=2 ratio=1 unit=pairs/cpu-second"
    assert memory.line() == (
        "bench reward-bf16-trl-memory ours=200 peer=1000 ratio=0.2 unit=bytes-above-model"
    )
