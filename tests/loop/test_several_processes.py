"""Trainings by several processes: the weights of one process, whoever goes on from whose checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from preference_examples import made, tiny
from process_groups import on_processes
from safetensors.torch import load_file, save_file

from rewarddiff import launch
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.objectives.lists import KTO, RRHF
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.policy import PolicyConfig, train_policy

OBJECTIVES = {"dpo": DPO(), "kto": KTO(), "rrhf": RRHF()}
CASES = [("dpo", 1), ("dpo", 31), ("kto", 31), ("rrhf", 31), ("dpo", 30), ("dpo", 32)]
"""Objectives, and how many items there are: one, and such that some shares are larger than others."""

# Micro-batches of few tokens: one process has more of them than another, and some items are larger.
CONFIG = {
    "precision": "fp32", "lr": 1e-3, "batch_size": 8, "warmup": 0.0, "schedule": "constant",
    "microbatch_tokens": 24, "eval_every": 2, "save_every": 2,
}  # fmt: skip


def trained(output: Path, objective: str, number: int, sharding: str) -> None:
    """Train a tiny model in float64, and keep its weights in `output`.safetensors."""
    model = tiny()
    config = PolicyConfig(
        objective=OBJECTIVES[objective], train=TrainConfig(**CONFIG, sharding=sharding)
    )
    items = made(number + 3)
    train_policy(model, items[:number], config, output=output, weights="tiny", dev=items[number:])
    if launch.is_main():
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_file(weights, output.with_suffix(".safetensors"))


SCRIPT = """
from pathlib import Path
from loop.test_several_processes import CASES, trained
for sharding in ("none", "fsdp"):
    for objective, number in CASES[:COUNT_OF_CASES]:
        trained(Path(f"on-COUNT/{objective}-{number}-{sharding}"), objective, number, sharding)
"""


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all trainings by one process."""
    folder = tmp_path_factory.mktemp("one")
    for objective, number in CASES:
        trained(folder / f"{objective}-{number}", objective, number, "none")
    return folder


def assert_same(weights: Path, expected: Path) -> None:
    ours, theirs = load_file(weights), load_file(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        # The norms of transformers compute in float32, whatever the model does.
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "cases"), [(2, 6), (4, 3)])
def test_several_processes_train_the_weights_of_one(
    by_one: Path, tmp_path: Path, count: int, cases: int
) -> None:
    script = SCRIPT.replace("COUNT_OF_CASES", str(cases)).replace("COUNT", str(count))
    for status, error in on_processes(tmp_path, script, count):
        assert status == 0, error
    for objective, number in CASES[:cases]:
        expected = by_one / f"{objective}-{number}"
        for sharding in ("none", "fsdp"):
            ours = tmp_path / f"on-{count}" / f"{objective}-{number}-{sharding}"
            assert_same(ours.with_suffix(".safetensors"), expected.with_suffix(".safetensors"))
            for line, alone in zip(lines(ours), lines(expected), strict=True):
                assert line["tokens"] == alone["tokens"]
                assert line["loss"] == pytest.approx(alone["loss"], abs=1e-6)


INTERRUPTED = """
from pathlib import Path
from loop.test_several_processes import trained
from rewarddiff.loop import train
step = train._Run._step
def stopped(self, number):
    if number == 3:
        raise KeyboardInterrupt
    return step(self, number)
train._Run._step = stopped
for sharding in ("none", "fsdp"):
    try:
        trained(Path(f"stopped/{sharding}"), "dpo", 31, sharding)
    except KeyboardInterrupt:
        pass
"""
RESUMED = """
from pathlib import Path
from loop.test_several_processes import trained
for sharding in ("none", "fsdp"):
    for written in ("none", "fsdp"):
        trained(Path(f"{written}-{sharding}-on-COUNT"), "dpo", 31, sharding)
"""


@pytest.mark.slow
def test_any_number_of_processes_goes_on_from_a_checkpoint_of_two(
    by_one: Path, tmp_path: Path
) -> None:
    for status, error in on_processes(tmp_path, INTERRUPTED):
        assert status == 0, error
    for written in ("none", "fsdp"):
        kept = tmp_path / "stopped" / written / "checkpoint"
        assert json.loads((kept / "state.json").read_text())["step"] == 2
        parts = sorted(path.name for path in kept.glob("model*"))
        divided = ["model-00000.safetensors", "model-00001.safetensors"]
        assert parts == (divided if written == "fsdp" else ["model.safetensors"])
        for place in ("none-on-1", "none-on-4", "fsdp-on-4"):
            shutil.copytree(tmp_path / "stopped" / written, tmp_path / f"{written}-{place}")
    for status, error in on_processes(tmp_path, RESUMED.replace("COUNT", "4"), 4):
        assert status == 0, error
    for written in ("none", "fsdp"):
        trained(tmp_path / f"{written}-none-on-1", "dpo", 31, "none")
        for place in (f"{written}-none-on-1", f"{written}-none-on-4", f"{written}-fsdp-on-4"):
            assert_same(tmp_path / f"{place}.safetensors", by_one / "dpo-31.safetensors")
            steps = [line["step"] for line in lines(tmp_path / place) if line["split"] == "train"]
            assert steps == [1, 2, 3, 4]
