"""Adapters: what is saved loads elsewhere, the reference is the bare base, and the base may be quantised."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_preference import EXACT
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from rewarddiff import models
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import train_policy
from rewarddiff.records import Comparison, Group
from rewarddiff.training.policy import LoraConfig, PolicyConfig

GROUPS = [Group(f"g{i}", f"Say {i}", (f"yes {i}!", f"no {i}"), comparisons=(Comparison(0, 1),)) for i in range(8)]
TRAIN = replace(EXACT, lr=1e-2, max_steps=4, batch_size=4)
IDS = torch.tensor([[5, 6, 7, 8]])


def trained(folder: Path, base: Path, lora: LoraConfig) -> tuple[Path, list[dict]]:
    model = train_policy(base, GROUPS, output=folder, config=PolicyConfig(lora=lora, train=TRAIN))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return model, lines


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_starts_at_its_base_and_learns(dora: bool, policy_folder: Path, tmp_path: Path) -> None:
    model, lines = trained(tmp_path, policy_folder, LoraConfig(r=4, dora=dora))
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # policy = reference: ln 2
    assert lines[-1]["loss"] < 0.65
    adapter = json.loads((model / "adapter_config.json").read_text())
    assert adapter["use_dora"] is dora
    assert not (model / "model.safetensors").exists()
    base = logits(AutoModelForCausalLM.from_pretrained(policy_folder))
    assert (logits(models.load_causal_lm(model)[0]) - base).abs().max() > 1e-3


@pytest.mark.parametrize("dora", [False, True])
def test_a_merged_model_is_the_adapted_one_and_needs_no_peft(dora: bool, policy_folder: Path, tmp_path: Path) -> None:
    adapter, _ = trained(tmp_path / "a", policy_folder, LoraConfig(r=4, dora=dora))
    merged, _ = trained(tmp_path / "b", policy_folder, LoraConfig(r=4, dora=dora, merge=True))
    assert not (merged / "adapter_config.json").exists()
    whole = AutoModelForCausalLM.from_pretrained(merged)
    torch.testing.assert_close(logits(whole), logits(models.load_causal_lm(adapter)[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_a_quantiser_it_says_what_to_install(policy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        trained(tmp_path, policy_folder, LoraConfig(bits=4))


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_on_a_quantised_base(bits: int, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=1024,
    )  # fmt: skip  # blocks of 64 weights have to fit
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model, lines = trained(tmp_path / "run", tmp_path / "base", LoraConfig(r=4, bits=bits, merge=True))
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-2)
    assert lines[-1]["loss"] < 0.66
    whole = AutoModelForCausalLM.from_pretrained(model)
    assert whole.dtype == torch.float32
    assert not hasattr(whole.config, "quantization_config")


def test_an_adapter_is_no_base_to_quantise(policy_folder: Path, tmp_path: Path) -> None:
    adapter, _ = trained(tmp_path, policy_folder, LoraConfig(r=2))
    with pytest.raises(UserError, match="save it merged"):
        models.load_causal_lm(adapter, bits=4)
