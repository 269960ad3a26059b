"""Adapters: what is saved loads elsewhere, and the reference is the bare base."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_preference import EXACT
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from rewarddiff import models
from rewarddiff.errors import UserError
from rewarddiff.outputs import LOCK
from rewarddiff.pipeline.commands import train_policy
from rewarddiff.policies.policy import LoraConfig, PolicyConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.backbones import load_backbone
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.ranking import scores as scores_by

GROUPS = [
    Group(f"g{i}", f"Say {i}", (f"yes {i}!", f"no {i}"), comparisons=(Comparison(0, 1),))
    for i in range(8)
]
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
def test_an_adapter_starts_at_its_base_and_learns(
    dora: bool, policy_folder: Path, tmp_path: Path
) -> None:
    model, lines = trained(tmp_path, policy_folder, LoraConfig(r=4, dora=dora))
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # policy = reference: ln 2
    assert lines[-1]["loss"] < 0.65
    adapter = json.loads((model / "adapter_config.json").read_text())
    assert adapter["use_dora"] is dora
    assert not (model / "model.safetensors").exists()
    base = logits(AutoModelForCausalLM.from_pretrained(policy_folder))
    assert (logits(models.load_causal_lm(model)[0]) - base).abs().max() > 1e-3


@pytest.mark.parametrize("dora", [False, True])
def test_a_merged_model_is_the_adapted_one_and_needs_no_peft(
    dora: bool, policy_folder: Path, tmp_path: Path
) -> None:
    adapter, _ = trained(tmp_path / "a", policy_folder, LoraConfig(r=4, dora=dora))
    merged, _ = trained(tmp_path / "b", policy_folder, LoraConfig(r=4, dora=dora, merge=True))
    assert not (merged / "adapter_config.json").exists()
    whole = AutoModelForCausalLM.from_pretrained(merged)
    torch.testing.assert_close(
        logits(whole), logits(models.load_causal_lm(adapter)[0]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed"
)
def test_without_a_quantiser_it_says_what_to_install(policy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        trained(tmp_path, policy_folder, LoraConfig(bits=4))


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_on_a_quantised_base(
    bits: int, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=1024,
    )  # fmt: skip  # blocks of 64 weights have to fit
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model, lines = trained(
        tmp_path / "run", tmp_path / "base", LoraConfig(r=4, bits=bits, merge=True)
    )
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-2)
    assert lines[-1]["loss"] < 0.66
    whole = AutoModelForCausalLM.from_pretrained(model)
    assert whole.dtype == torch.float32
    assert not hasattr(whole.config, "quantization_config")


def test_an_adapter_is_no_base_to_quantise(policy_folder: Path, tmp_path: Path) -> None:
    adapter, _ = trained(tmp_path, policy_folder, LoraConfig(r=2))
    with pytest.raises(UserError, match="save it merged"):
        models.load_causal_lm(adapter, bits=4)


# --- adapters as starting points ------------------------------------------------------------------------------------


def an_adapter(base: Path, folder: Path, *, tokenizer: bool = True, **options: Any) -> Path:
    """A LoRA adapter that changes much, as peft itself saves it."""
    torch.manual_seed(3)
    settings = {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": ["q_proj", "up_proj"],
        "task_type": "CAUSAL_LM",
        **options,
    }
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings, init_lora_weights=False))
    adapted.save_pretrained(folder)
    if tokenizer:
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def by_peft(base: Path, folder: Path) -> torch.Tensor:
    """The referee: logits of an adapter on its base as peft runs them, nothing merged."""
    return logits(
        peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    )


@pytest.mark.parametrize("merge", [False, True])
def test_lora_on_an_adapter_keeps_what_the_adapter_learned(
    merge: bool, policy_folder: Path, tmp_path: Path
) -> None:
    """One step of no length: the export answers as the adapter it started from."""
    sft = an_adapter(policy_folder, tmp_path / "sft")
    learned = by_peft(policy_folder, sft)
    base = logits(AutoModelForCausalLM.from_pretrained(policy_folder))
    assert (learned - base).abs().max() > 1e-2

    still = replace(TRAIN, lr=1e-12, max_steps=1)
    start = sft
    for name in ("dpo", "again"):
        config = PolicyConfig(lora=LoraConfig(r=2, merge=merge), train=still)
        start = train_policy(start, GROUPS, output=tmp_path / name, config=config)
        assert (start / "adapter_config.json").exists() is not merge
        torch.testing.assert_close(
            logits(models.load_causal_lm(start)[0]), learned, rtol=1e-4, atol=1e-5
        )
        theirs = AutoModelForCausalLM if merge else peft.AutoPeftModelForCausalLM
        torch.testing.assert_close(
            logits(theirs.from_pretrained(start)), learned, rtol=1e-4, atol=1e-5
        )
    if not merge:
        config = json.loads((start / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(policy_folder)
        assert config["r"] == 3 + 2 + 2


def test_lora_on_an_adapter_adds_up(policy_folder: Path, tmp_path: Path) -> None:
    """W + s₁B₁A₁ + s₂B₂A₂, saved merged and saved as one adapter, is the same."""
    sft = an_adapter(policy_folder, tmp_path / "sft", rank_pattern={"up_proj": 1}, use_rslora=True)
    alone, _ = trained(tmp_path / "a", sft, LoraConfig(r=4))
    merged, _ = trained(tmp_path / "b", sft, LoraConfig(r=4, merge=True))
    together = logits(AutoModelForCausalLM.from_pretrained(merged))
    assert (together - by_peft(policy_folder, sft)).abs().max() > 1e-3
    torch.testing.assert_close(by_peft(policy_folder, alone), together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("earlier", "later", "cause"),
    [
        ({"use_dora": True}, {}, "one with use_dora"),
        ({"modules_to_save": ["lm_head"]}, {}, "one with modules_to_save"),
        ({"target_modules": ".*q_proj"}, {}, "one whose target_modules are a pattern"),
        ({}, {"dora": True}, "lora.dora cannot be added to it"),
    ],
)
def test_adapters_that_do_not_add_up_are_refused_before_training(
    earlier: dict[str, Any], later: dict[str, Any], cause: str, policy_folder: Path, tmp_path: Path
) -> None:
    sft = an_adapter(policy_folder, tmp_path / "sft", **earlier)
    with pytest.raises(
        UserError, match=f"sft: an adapter, and {cause}.*set lora.merge=true"
    ) as caught:
        trained(tmp_path / "run", sft, LoraConfig(r=2, **later))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]  # nothing was trained


def test_all_weights_are_trained_from_an_adapter(policy_folder: Path, tmp_path: Path) -> None:
    sft = an_adapter(policy_folder, tmp_path / "sft")
    model = train_policy(sft, GROUPS, output=tmp_path / "run", config=PolicyConfig(train=TRAIN))
    before, after = models.load_causal_lm(sft)[0], AutoModelForCausalLM.from_pretrained(model)
    moved = [
        not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert all(moved)


# --- adapters as models ---------------------------------------------------------------------------------------------


def test_an_adapter_without_a_tokenizer_takes_its_bases(
    policy_folder: Path, tmp_path: Path
) -> None:
    adapter = an_adapter(policy_folder, tmp_path / "sft", tokenizer=False)
    assert (
        models.load_tokenizer(adapter).get_vocab()
        == models.load_tokenizer(policy_folder).get_vocab()
    )


def test_an_adapter_in_the_home_folder(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = an_adapter(policy_folder, tmp_path / "sft")
    shutil.copytree(policy_folder, tmp_path / "base")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "~/base"})
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.context_length("~/sft") == 1024
    torch.testing.assert_close(
        logits(models.load_causal_lm("~/sft")[0]), by_peft(policy_folder, adapter)
    )


def test_an_adapter_serves_a_scorer_as_its_merged_model_does(
    policy_folder: Path, tmp_path: Path
) -> None:
    adapter = an_adapter(policy_folder, tmp_path / "sft")
    merged, tokenizer = models.load_causal_lm(adapter)
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    backbones = [
        load_backbone(str(folder)).model.base_model for folder in (adapter, tmp_path / "merged")
    ]
    ours, theirs = (backbone.state_dict() for backbone in backbones)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name])
    with pytest.raises(UserError, match="sft: no trained head"):
        load_scorer(adapter)


def test_an_adapter_that_holds_a_reward_models_head_is_a_reward_model(
    policy_folder: Path, tmp_path: Path
) -> None:
    """TRL's RewardTrainer with a peft_config saves the head whole, beside the low ranks."""
    torch.manual_seed(4)
    base = AutoModelForSequenceClassification.from_pretrained(policy_folder, num_labels=1)
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False
    )
    reward: Any = peft.get_peft_model(base, settings).eval()
    reward.save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(policy_folder).save_pretrained(tmp_path / "reward")
    groups = [Group("a", "Say yes. ", ("yes!", "no, never"))]
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    with torch.no_grad():
        texts = [f"Say yes. {response}<eos>" for response in groups[0].responses]
        expected = [reward(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]
    found = scores_by(load_scorer(tmp_path / "reward"), groups)[0]
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_adapters_that_lead_back_to_themselves_or_nowhere_are_refused(
    policy_folder: Path, tmp_path: Path
) -> None:
    first, second = (an_adapter(policy_folder, tmp_path / name) for name in ("first", "second"))

    def name_base(adapter: Path, base: Path) -> None:
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(
            json.dumps({**config, "base_model_name_or_path": str(base)})
        )

    name_base(first, second)
    name_base(second, first)
    for folder in (first, second):
        with pytest.raises(
            UserError, match=r"adapter_config.json: names .* as its base, which leads back to it"
        ):
            models.load_causal_lm(folder)
    name_base(first, first)
    with pytest.raises(UserError, match="which leads back to it"):
        models.fingerprint(first)
    name_base(first, tmp_path / "secand")
    with pytest.raises(
        UserError,
        match=r"names a base that cannot be had: .*secand: no such folder .did you mean .*second",
    ):
        load_backbone(str(first))


def test_adapters_of_another_size_or_shape_are_refused(policy_folder: Path, tmp_path: Path) -> None:
    """One made after the embeddings grew, and one of another architecture's layers."""
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    model.resize_token_embeddings(300)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, settings).save_pretrained(
        tmp_path / "grown", save_embedding_layers=True
    )
    with pytest.raises(UserError, match=r"grown: cannot be loaded \(size mismatch") as caught:
        models.load_causal_lm(tmp_path / "grown")
    assert "\n" not in str(caught.value)
    adapter = an_adapter(policy_folder, tmp_path / "sft")
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {k.replace("q_proj", "query"): v for k, v in weights.items()},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(
        UserError, match=r"sft: the adapter does not fit its base: .* weights have no counterpart"
    ):
        models.load_causal_lm(adapter)
    with pytest.raises(
        UserError, match="sft: the adapter does not fit its base"
    ):  # a bare body has other names
        models.load_model(AutoModel, an_adapter(policy_folder, tmp_path / "sft"))


def test_the_fingerprint_of_an_adapter_is_also_its_bases(
    policy_folder: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(policy_folder, tmp_path / "base"))
    adapter = an_adapter(base, tmp_path / "sft")
    before = models.fingerprint(adapter)
    weights = load_file(base / "model.safetensors")
    save_file(
        {k: w + 1e-3 for k, w in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert models.fingerprint(adapter) != before
