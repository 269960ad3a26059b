"""A value head is kept beside its policy on request, and goes on learning in another training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from online_examples import learn, short
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from rewarddiff.errors import UserError
from rewarddiff.policies.online.estimators import AdvantageConfig


def test_a_head_that_was_saved_is_where_the_next_training_begins(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    config = short(save_value_head=True)
    model, _ = learn(tiny_tokenizer, tmp_path / "first", config)
    path = tmp_path / "first" / "value_head.safetensors"
    head = load_file(path)
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "weight": (1, 24),
        "bias": (1,),
    }
    assert head["bias"].item() != 0
    # Steps of next to nothing leave it where it began: at the saved one, and without one at 0.
    still = {"lr": 1e-12, "head_lr": 1e-12, "model": model}
    taken = replace(config, value_head=str(path))
    learn(tiny_tokenizer, tmp_path / "second", taken, **still)
    again = load_file(tmp_path / "second" / "value_head.safetensors")
    torch.testing.assert_close(again, head, rtol=0, atol=1e-9)
    learn(tiny_tokenizer, tmp_path / "anew", config, **still)
    anew = load_file(tmp_path / "anew" / "value_head.safetensors")
    assert anew["weight"].abs().max() < 1e-9


def test_without_a_request_no_head_is_left(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    learn(tiny_tokenizer, tmp_path, short(), max_steps=1)
    assert not (tmp_path / "value_head.safetensors").exists()


def test_heads_that_are_refused(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.safetensors"
    with pytest.raises(UserError, match=r"value_head: .*nowhere.* cannot be read"):
        learn(tiny_tokenizer, tmp_path, short(value_head=str(nowhere)))
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1, 8), "bias": torch.zeros(1)}, other)
    with pytest.raises(UserError, match=r"holds .*\(1, 8\).* this model's head is .*\(1, 24\)"):
        learn(tiny_tokenizer, tmp_path, short(value_head=str(other)))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        learn(tiny_tokenizer, tmp_path, short(value_head=str(broken)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"advantage": AdvantageConfig("rloo"), "save_value_head": True}, "an option of gae"),
        ({"advantage": AdvantageConfig("rloo"), "value_head": "head"}, "an option of gae"),
        ({"importance_sampling_level": "sequence"}, "an advantage for each token"),
        ({"stop": ("\n", "")}, "an empty text ends every response"),
    ],
)
def test_options_that_do_not_go_with_an_estimator(
    options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        short(**options)
