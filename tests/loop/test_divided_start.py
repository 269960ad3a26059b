"""Policies of which each process reads its own rows, trains them and gives them to be saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from preference_examples import made, tiny
from process_groups import on_processes
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig

from rewarddiff import launch, models
from rewarddiff.loop import gathering, sharding
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.models.dividing import divided_lm
from rewarddiff.policies.objectives.lists import KTO
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.store import Store

OBJECTIVES = {"dpo": DPO(), "kto": KTO()}
CASES = [("dpo", 1, "untied"), ("dpo", 31, "untied"), ("kto", 31, "tied")]
"""An objective, how many items there are, and whether the head's weights are the embeddings'."""

CONFIG = {
    "precision": "fp32", "lr": 1e-3, "batch_size": 8, "warmup": 0.0, "schedule": "constant",
    "microbatch_tokens": 24, "eval_every": 2, "save_every": 2, "sharding": "fsdp",
}  # fmt: skip


def opened(folder: Path, dtype: torch.dtype | str = torch.float64) -> torch.nn.Module:
    """Return a model: where there are several processes, divided before it is read."""
    from rewarddiff.processes import processes

    auto = AutoModelForCausalLM
    if processes().num_processes > 1:
        auto = divided_lm(models.load_config(folder), sharding.divide)
    model, _ = models.load_model(auto, folder, dtype=dtype)
    return model


def trained(start: Path, output: Path, objective: str, number: int) -> None:
    """Train a model of `start` and keep its weights: of one process by transformers, else by ours."""
    model = opened(start)
    config = PolicyConfig(objective=OBJECTIVES[objective], train=TrainConfig(**CONFIG))
    items = made(number + 3)
    train_policy(
        model,
        items[:number],
        config,
        output=output,
        weights="tiny",
        dev=items[number:],
        store=Store(output.with_suffix(f".sqlite.{launch.rank()}")),
    )
    saved = output.with_suffix(".model")
    saved.mkdir(exist_ok=True)
    if launch.size() > 1:
        assert sharding.is_divided(model)
        gathering.write(model, saved, file_bytes=40_000)
    else:
        model.save_pretrained(saved)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    return weights


def assert_same(folder: Path, expected: Path) -> None:
    ours, theirs = weights_of(folder), weights_of(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        # The norms of transformers compute in float32, whatever the model does.
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what trainings start from, one of them in several files."""
    folder = tmp_path_factory.mktemp("starts")
    tiny().save_pretrained(folder / "untied", max_shard_size="40KB")
    tiny(tie_word_embeddings=True).save_pretrained(folder / "tied")
    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = MixtralConfig(
        **shape, intermediate_size=48, num_key_value_heads=2, num_local_experts=3
    )
    gpt2 = GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    for name, config in {"experts": experts, "gpt2": gpt2}.items():
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def by_one(starts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all trainings by one process."""
    folder = tmp_path_factory.mktemp("one")
    for objective, number, start in CASES:
        trained(starts / start, folder / f"{objective}-{number}", objective, number)
    return folder


SCRIPT = """
from pathlib import Path
from loop.test_divided_start import trained
for objective, number, start in CASES:
    trained(Path("STARTS") / start, Path(f"{objective}-{number}"), objective, number)
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_what_is_read_by_rows_trains_the_weights_of_one(
    starts: Path, by_one: Path, tmp_path: Path, count: int
) -> None:
    cases = CASES if count == 2 else CASES[:2]
    script = SCRIPT.replace("STARTS", str(starts)).replace("CASES", repr(cases))
    for status, error in on_processes(tmp_path, script, count):
        assert status == 0, error
    for objective, number, _ in cases:
        ours, expected = tmp_path / f"{objective}-{number}", by_one / f"{objective}-{number}"
        assert_same(ours.with_suffix(".model"), expected.with_suffix(".model"))
        for line, alone in zip(lines(ours), lines(expected), strict=True):
            assert line["tokens"] == alone["tokens"]
            assert line["loss"] == pytest.approx(alone["loss"], abs=1e-6)


STOPPED = """
from pathlib import Path
from loop.test_divided_start import trained
from rewarddiff.loop import train
step = train._Run._step
def stopped(self, number):
    if number == 3:
        raise KeyboardInterrupt
    return step(self, number)
train._Run._step = stopped
try:
    trained(Path("STARTS/untied"), Path("dpo-31"), "dpo", 31)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_have_read_by_rows(
    starts: Path, by_one: Path, tmp_path: Path
) -> None:
    """What a checkpoint is of does not hang on who holds which rows."""
    script = STOPPED.replace("STARTS", str(starts))
    for status, error in on_processes(tmp_path, script):
        assert status == 0, error
    assert json.loads((tmp_path / "dpo-31/checkpoint/state.json").read_text())["step"] == 2
    trained(starts / "untied", tmp_path / "dpo-31", "dpo", 31)
    assert_same(tmp_path / "dpo-31.model", by_one / "dpo-31.model")


def saved_again(start: Path, place: Path) -> None:
    """Read a model by rows and write it; nothing of it is left, so that its groups are closed at exit."""
    model = opened(start, "auto")
    largest = max(weight.numel() for weight in model.parameters())
    held = sum(weight.to_local().numel() for weight in model.parameters())
    assert 2 * held <= sum(weight.numel() for weight in model.parameters()) + 4 * largest
    place.mkdir(exist_ok=True)
    gathering.write(model, place, file_bytes=40_000)


SAVED = """
from pathlib import Path
from loop.test_divided_start import KINDS, saved_again
for name in KINDS:
    saved_again(Path("STARTS") / name, Path(name))
"""
KINDS = ("tied", "untied", "experts", "gpt2")


@pytest.mark.slow
def test_what_is_saved_is_the_folder_that_was_read(starts: Path, tmp_path: Path) -> None:
    """Names are those of the files: an expert of Mixtral has its own there, in memory all are one weight."""
    for status, error in on_processes(tmp_path, SAVED.replace("STARTS", str(starts))):
        assert status == 0, error
    for name in KINDS:
        assert (tmp_path / name / gathering.INDEX).exists()
        ours, theirs = weights_of(tmp_path / name), weights_of(starts / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config == json.loads((starts / name / "config.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype="auto")
        expected = AutoModelForCausalLM.from_pretrained(starts / name, dtype="auto").state_dict()
        assert model.state_dict().keys() == expected.keys()
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[key])


def test_weights_of_a_layer_lie_in_one_file() -> None:
    """Three layers of 8 bytes, an embedding of 16 and a norm of 4, in files of at most 20."""
    weights = {"model.embed.weight": torch.zeros(4)}
    for layer in range(3):
        for part in ("up", "down"):
            weights[f"model.layers.{layer}.{part}.weight"] = torch.zeros(1)
    weights["model.norm.weight"] = torch.zeros(1)
    files = list(gathering._files(weights, 20))
    assert [len(names) for names in files] == [1, 4, 3]
    assert [name for names in files for name in names] == list(weights)


@pytest.mark.slow
def test_two_weights_where_there_should_be_one_are_refused(
    policy_folder: Path, tmp_path: Path
) -> None:
    """The configuration ties the head to the embeddings, and the files have another head."""
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    model.save_pretrained(tmp_path / "two")
    shutil.copy(policy_folder / "tokenizer.json", tmp_path / "two")
    shutil.copy(policy_folder / "tokenizer_config.json", tmp_path / "two")
    config = tmp_path / "two" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    script = """
from rewarddiff import models
from rewarddiff.errors import UserError
from rewarddiff.loop import sharding
try:
    models.load_causal_lm("two", divide=sharding.divide)
except UserError as error:
    assert "lm_head.weight is model.embed_tokens.weight, and its files have two" in str(error)
else:
    assert False
"""
    for status, error in on_processes(tmp_path, script):
        assert status == 0, error


@pytest.mark.slow
def test_a_model_that_is_not_whole_is_refused_by_rows_too(starts: Path, tmp_path: Path) -> None:
    """A weight has one row more than the configuration says: some process sees it in its rows."""
    broken = tmp_path / "broken"
    shutil.copytree(starts / "tied", broken)
    file = broken / "model.safetensors"
    with safe_open(file, "pt") as read:
        weights = {name: read.get_tensor(name) for name in read.keys()}  # noqa: SIM118
    key = "model.layers.0.mlp.up_proj.weight"
    weights[key] = torch.cat([weights[key], weights[key][:1]])
    save_file(weights, file, metadata={"format": "pt"})
    script = f"""
from pathlib import Path
from loop.test_divided_start import opened
from rewarddiff.errors import UserError
from rewarddiff.processes import from_every_process
refused = ""
try:
    opened(Path({str(broken)!r}))
except UserError as error:
    refused = str(error)
assert any("not a whole" in line for line in from_every_process(refused))
"""
    for status, error in on_processes(tmp_path, script):
        assert status == 0, error
