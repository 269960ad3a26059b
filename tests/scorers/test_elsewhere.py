"""Reward models as other toolkits save them, scored by those toolkits' own rule and read here.

The folders are written by transformers and peft, and laid out as the toolkits do; the referee is
transformers' own forward pass on one text after another.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.ranking import scores

from .conftest import pair_tokenizer

GROUPS = [
    Group("a", "What is tea?", ("A drink of leaves.", "Leaf")),
    Group("b", (Message("user", "Two and two?"),), ("Four.", "Five, I think.")),
]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def rows(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The texts as token ids: with its end token, or as the chat template writes them."""
    texts = []
    for group in GROUPS:
        for response in group.responses:
            if isinstance(group.prompt, str):
                texts.append(tokenizer(group.prompt + response + tokenizer.eos_token).input_ids)
                continue
            turns = [m.turn() for m in group.prompt]
            turns.append({"role": "assistant", "content": response})
            texts.append(tokenizer.apply_chat_template(turns, return_dict=False))
    return texts


@torch.no_grad()
def read_at_the_end(model: PreTrainedModel, head: nn.Linear, tokenizer) -> np.ndarray:
    """A value head on the last layer's state of the last token, as TRL and OpenRLHF read one."""
    numbers = []
    for row in rows(tokenizer):
        states = model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1]
        numbers.append(head(states[0, -1].float()).item())
    return np.array(numbers)


@torch.no_grad()
def logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    return np.stack([model(torch.tensor([r])).logits[0].float().numpy() for r in rows(tokenizer)])


def ours(folder: Path) -> np.ndarray:
    return np.concatenate(scores(load_scorer(folder), GROUPS))


def close(one: np.ndarray, two: np.ndarray) -> None:
    assert len(set(two.round(4))) == len(two)  # texts differ in their scores
    np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-6)


@pytest.fixture
def tokenizer(folders: dict[str, Path]) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folders["decoder"])


@pytest.fixture
def language_model(folders: dict[str, Path]) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folders["decoder"]).eval()


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(32, 1)


# --- value heads ----------------------------------------------------------------------------------------------------


def among_the_weights(
    folder: Path, weights: dict[str, Tensor], rename: Callable[[str], str] = str
) -> None:
    """Add weights to those of a saved model, whose names are changed."""
    file = folder / "model.safetensors"
    renamed = {rename(key): weight for key, weight in load_file(file).items()}
    save_file({**renamed, **weights}, file, {"format": "pt"})


def trl(folder: Path, head: nn.Linear) -> None:
    """TRL's AutoModelForCausalLMWithValueHead: the model's state dict, and v_head.summary's."""
    among_the_weights(
        folder, {"v_head.summary.weight": head.weight.data, "v_head.summary.bias": head.bias.data}
    )


def llama_factory(folder: Path, head: nn.Linear) -> None:
    """The same head in a file beside the model."""
    weights = {"v_head.summary.weight": head.weight.data, "v_head.summary.bias": head.bias.data}
    save_file(weights, folder / "value_head.safetensors", {"format": "pt"})


def openrlhf(folder: Path, head: nn.Linear, name: str = "score", **config: object) -> None:
    """A class of its own, RewardModel, around the bare body; no bias."""
    head.bias.data.zero_()
    among_the_weights(folder, {f"{name}.weight": head.weight.data})
    content = json.loads((folder / "config.json").read_text())
    content |= {"architectures": ["RewardModel"], "value_head_prefix": name, **config}
    (folder / "config.json").write_text(json.dumps(content))


def openrlhf_of_before(folder: Path, head: nn.Linear) -> None:
    openrlhf(folder, head, "value_head", normalize_reward=False, mean=1.0, std=2.0)


def deepspeed_chat(folder: Path, head: nn.Linear) -> None:
    """The bare body as `rwtransformer`, and v_head without bias."""
    head.bias.data.zero_()

    def renamed(key: str) -> str:
        return "rwtransformer." + key.removeprefix("model.")

    among_the_weights(folder, {"v_head.weight": head.weight.data}, renamed)


@pytest.mark.parametrize(
    "lay_out", [trl, llama_factory, openrlhf, openrlhf_of_before, deepspeed_chat]
)
def test_a_value_head_is_read(language_model, tokenizer, head, tmp_path, lay_out) -> None:
    for part in (language_model, tokenizer):
        part.save_pretrained(tmp_path / "theirs")
    lay_out(tmp_path / "theirs", head)
    theirs = read_at_the_end(language_model, head, tokenizer)
    close(ours(tmp_path / "theirs"), theirs)
    # Training may start from it, and it can be saved here, its bias with it.
    start = new_scorer(ScorerConfig(warm_start=str(tmp_path / "theirs")))
    close(np.concatenate(scores(start, GROUPS)), theirs)
    save_scorer(load_scorer(tmp_path / "theirs"), tmp_path / "ours")
    close(ours(tmp_path / "ours"), theirs)


@pytest.mark.parametrize("name", ["score", "value_head"])
def test_openrlhfs_mean_and_spread_are_taken_out_where_asked(
    language_model, tokenizer, head, tmp_path, name: str
) -> None:
    """r = (w·h − mean) / std, in its RewardModel.forward with normalize_reward."""
    for part in (language_model, tokenizer):
        part.save_pretrained(tmp_path)
    openrlhf(tmp_path, head, name, normalize_reward=True, mean=1.5, std=0.25)
    close(ours(tmp_path), (read_at_the_end(language_model, head, tokenizer) - 1.5) / 0.25)


def test_a_value_head_beside_an_adapter_is_read(
    folders, language_model, tokenizer, head, tmp_path
) -> None:
    """LLaMA-Factory's LoRA reward models: an adapter of the language model, and the head beside."""
    adapted = lora(language_model, "CAUSAL_LM")
    adapted.save_pretrained(tmp_path)
    llama_factory(tmp_path, head)
    edit(tmp_path / "adapter_config.json", base_model_name_or_path=str(folders["decoder"]))
    close(ours(tmp_path), read_at_the_end(adapted.eval(), head, tokenizer))


def test_a_head_of_several_numbers_is_refused(language_model, tokenizer, tmp_path) -> None:
    for part in (language_model, tokenizer):
        part.save_pretrained(tmp_path)
    among_the_weights(tmp_path, {"v_head.weight": torch.ones(4, 32)})
    with pytest.raises(UserError, match=r"v_head.weight has shape \(4, 32\); a reward is one"):
        load_scorer(tmp_path)


# --- warm starts ----------------------------------------------------------------------------------------------------


def classifier_whose_padding_is_its_end(folder: Path, decoder: Path) -> np.ndarray:
    """Save a reward model as TRL leaves one whose tokenizer has no other padding; return its scores.

    transformers reads it at the last token that is no padding, which is the one before the end token.
    """
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(decoder, num_labels=1).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return logits(model, tokenizer)[:, 0]


def test_a_warm_start_begins_with_the_rewards_it_starts_from(folders, tmp_path) -> None:
    theirs = classifier_whose_padding_is_its_end(tmp_path / "theirs", folders["decoder"])
    start = new_scorer(ScorerConfig(warm_start=str(tmp_path / "theirs")))
    close(np.concatenate(scores(start, GROUPS)), theirs)
    # So does what is trained from there, here and in transformers.
    start.trained = True
    save_scorer(start, tmp_path / "ours")
    close(ours(tmp_path / "ours"), theirs)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    close(logits(model, AutoTokenizer.from_pretrained(tmp_path / "ours"))[:, 0], theirs)


def test_a_fresh_head_reads_the_end_token(folders, tmp_path) -> None:
    """A backbone's padding is nothing that a head has learned to read before."""
    classifier_whose_padding_is_its_end(tmp_path / "backbone", folders["decoder"])
    texts = new_scorer(ScorerConfig(backbone=str(tmp_path / "backbone"))).reader.texts
    (reading,) = [texts.reading(texts.page(GROUPS[0]), 0)]
    assert reading[-1][-1] == texts.tokenizer.eos_token_id != texts.padding


def test_what_a_warm_start_cannot_take_over_is_said(folders, tmp_path, caplog) -> None:
    classifier_whose_padding_is_its_end(tmp_path / "theirs", folders["decoder"])
    new_scorer(ScorerConfig(warm_start=str(tmp_path / "theirs"), heads=2))
    assert "begins with other rewards" in caplog.text
    caplog.clear()
    AutoModelForSequenceClassification.from_pretrained(
        folders["encoder"], num_labels=1
    ).save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(folders["encoder"]).save_pretrained(tmp_path / "encoder")
    new_scorer(ScorerConfig(warm_start=str(tmp_path / "encoder"), pooling="cls"))
    assert "begins anew" not in caplog.text
    new_scorer(ScorerConfig(warm_start=str(tmp_path / "encoder")))
    assert "its head reads by pooling cls; with pooling mean the head begins anew" in caplog.text


# --- two labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "better"),
    [
        ({0: "rejected", 1: "chosen"}, 1),
        ({0: "Chosen", 1: "Rejected"}, 0),
        ({0: "non-toxic", 1: "toxic"}, 0),
        ({0: "LABEL_0", 1: "LABEL_1"}, 1),
    ],
)
def test_two_labels_score_by_the_gap_of_their_logits(
    folders, tokenizer, tmp_path, caplog, names: dict[int, str], better: int
) -> None:
    torch.manual_seed(4)
    model = AutoModelForSequenceClassification.from_pretrained(
        folders["decoder"], num_labels=2, id2label=names, pad_token_id=tokenizer.pad_token_id
    )
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "theirs")
    both = logits(model.eval(), tokenizer)
    close(ours(tmp_path / "theirs"), both[:, better] - both[:, 1 - better])
    warnings = [r.message for r in caplog.records if "which is better" in r.message]
    assert bool(warnings) == (names[0] == "LABEL_0")
    save_scorer(load_scorer(tmp_path / "theirs"), tmp_path / "ours")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    close(logits(again, tokenizer)[:, 0], both[:, better] - both[:, 1 - better])


@pytest.mark.parametrize("name", ["Bert", "Roberta", "DistilBert", "ModernBert"])
def test_an_encoder_of_two_labels_reads_the_pair(tmp_path, name: str) -> None:
    """Heads of several layers; the last one gives the logits."""
    torch.manual_seed(5)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=300, num_labels=2, id2label={0: "bad", 1: "good"}, pad_token_id=0,
        intermediate_size=32, hidden_dim=32, initializer_range=0.3, **SIZE,
    )  # fmt: skip
    if name == "DistilBert":
        config.n_layers, config.n_heads, config.dim = 2, 2, 32
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = pair_tokenizer()
    if name != "Bert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    group = GROUPS[0]
    pairs = [tokenizer(str(group.prompt), text, return_tensors="pt") for text in group.responses]
    with torch.no_grad():
        both = torch.cat([model(**pair).logits for pair in pairs]).numpy()
    close(scores(load_scorer(tmp_path), [group])[0], both[:, 1] - both[:, 0])


def test_three_labels_are_refused(folders, tokenizer, tmp_path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folders["decoder"], num_labels=3)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a classifier of 3 labels; a reward model has one"):
        load_scorer(tmp_path)


# --- how weights lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shards_in_half_precision_are_read(folders, tokenizer, tmp_path, dtype) -> None:
    """The weights as they were rounded, read in float32."""
    torch.manual_seed(6)
    model = AutoModelForSequenceClassification.from_pretrained(
        folders["decoder"], num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype=dtype
    )
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    close(ours(tmp_path), logits(model.float().eval(), tokenizer)[:, 0])


def test_a_value_head_in_a_shard_is_read(language_model, tokenizer, head, tmp_path) -> None:
    language_model.register_module("v_head", nn.Module())
    language_model.v_head.summary = head
    language_model.half().save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert "v_head.summary.weight" in index["weight_map"]
    # Read again, since half() rounds the positions' frequencies too.
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    close(ours(tmp_path), read_at_the_end(rounded, head.float(), tokenizer))


def lora(model: PreTrainedModel, task: str) -> peft.PeftModel:
    """An adapter that changes something: its second factor is not left at 0."""
    torch.manual_seed(7)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type=task)
    adapted = peft.get_peft_model(model, settings)
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(weight, std=0.3)
    return adapted


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("labels", [1, 2])
def test_an_adapter_with_its_head_is_read(folders, tokenizer, tmp_path, labels: int) -> None:
    """peft's SEQ_CLS, which saves the head whole beside the factors, as TRL's RewardTrainer does."""
    torch.manual_seed(8)
    model = AutoModelForSequenceClassification.from_pretrained(
        folders["decoder"], num_labels=labels, pad_token_id=tokenizer.pad_token_id
    )
    adapted = lora(model, "SEQ_CLS").eval()
    adapted.save_pretrained(tmp_path)
    edit(tmp_path / "adapter_config.json", base_model_name_or_path=str(folders["decoder"]))
    assert any(
        key.endswith("score.weight") for key in load_file(tmp_path / "adapter_model.safetensors")
    )
    both = logits(adapted, tokenizer)
    expected = both[:, 0] if labels == 1 else both[:, 1] - both[:, 0]
    close(ours(tmp_path), expected)


# --- pickles --------------------------------------------------------------------------------------------------------


def mend_by(message: str, folder: Path) -> None:
    """Run the command that an error names, in the folder."""
    command = re.search(r"python (-c \".*\")$", message)
    assert command, message
    done = subprocess.run(
        [sys.executable, *shlex.split(command[1])], cwd=folder, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_pickled_head_is_refused_with_a_mend_that_works(
    language_model, tokenizer, head, tmp_path
) -> None:
    for part in (language_model, tokenizer):
        part.save_pretrained(tmp_path)
    weights = {"v_head.summary.weight": head.weight.data, "v_head.summary.bias": head.bias.data}
    torch.save(weights, tmp_path / "value_head.bin")
    with pytest.raises(UserError, match=r"value_head.bin is pickled and is not read") as caught:
        load_scorer(tmp_path)
    mend_by(str(caught.value), tmp_path)
    close(ours(tmp_path), read_at_the_end(language_model, head, tokenizer))


def test_pickled_weights_are_refused_with_a_mend_that_works(
    language_model, tokenizer, head, tmp_path, caplog
) -> None:
    """TRL's value-head models as its PPO saved them: all in pytorch_model.bin, some weights tied."""
    for part in (language_model, tokenizer):
        part.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    weights = {**language_model.state_dict(), "v_head.summary.weight": head.weight.data}
    torch.save({**weights, "v_head.summary.bias": head.bias.data}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin is pickled and is not read") as caught:
        load_scorer(tmp_path)
    mend_by(str(caught.value), tmp_path)
    with caplog.at_level(logging.WARNING):
        close(ours(tmp_path), read_at_the_end(language_model, head, tokenizer))
