"""Supervised fine-tuning against transformers' own loss, and the choice of the response."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import train
from rewarddiff.policies.objectives.sft import SFT, best_response, sft_item
from rewarddiff.records import Comparison, Group

GROUPS = [
    Group("a", "Capital of France?", (" Rome", " Paris"), scores=(1.0, 2.0)),
    Group("b", "Hi", (" Hello, how are you?", " Go"), comparisons=(Comparison(0, 1),)),
    Group("c", "Only one: ", ("ok",)),
]
LEARNED = [" Paris", " Hello, how are you?", "ok"]


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    size = {
        "vocab_size": 262,
        "hidden_size": 16,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    return LlamaForCausalLM(
        LlamaConfig(**size, num_hidden_layers=2, num_attention_heads=2, initializer_range=0.3)
    ).double()


def transformers_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Mean cross-entropy over response tokens of right-padded rows."""
    prompts = [tokenizer(group.prompt).input_ids for group in GROUPS]
    rows = [
        p + tokenizer(text + "<eos>").input_ids for p, text in zip(prompts, LEARNED, strict=True)
    ]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    for label, prompt, row in zip(labels, prompts, rows, strict=True):
        label[len(prompt) : len(row)] = torch.tensor(row[len(prompt) :])
    loss: torch.Tensor = model.eval()(
        input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels
    ).loss
    return loss


def test_loss_and_gradient_equal_transformers(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    theirs = llama()
    expected = transformers_loss(theirs, tiny_tokenizer)
    expected.backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}

    encoder = Encoder(tiny_tokenizer, LengthConfig(max_response=32))
    items = [sft_item(e) for e in encoder.groups(GROUPS, Ledger())]
    policy = LogProbs(llama())
    objective = SFT(policy)
    output = objective.loss(policy, items)
    count = sum(map(objective.count, items))
    assert count == sum(
        len(text) + 1 for text in LEARNED
    )  # a byte is a token, and each response has one end
    (output.loss / count).backward()
    # transformers takes its logits to float32 before the softmax, whatever the model's type
    assert output.loss.item() / count == pytest.approx(expected.item(), rel=1e-6)
    for name, p in policy.named_parameters():
        torch.testing.assert_close(
            p.grad, gradients[name.removeprefix("trunk.model.")], rtol=1e-5, atol=1e-6
        )

    # the same number out of the loop, though its micro-batches hold unequal numbers of tokens
    config = TrainConfig(batch_size=3, microbatch_tokens=30, precision="fp32", max_steps=1)
    policy.zero_grad()
    train(objective, items, output=tmp_path, config=config)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "comparisons", "best"),
    [
        ((0.5, 2.0, -1.0), (), 1),
        ((0.5, 2.0, 2.0), (), 1),  # the first of two equal ones
        (
            (3.0, 1.0, 2.0),
            (Comparison(1, 0), Comparison(1, 2)),
            0,
        ),  # scores say more than single comparisons
        (None, (Comparison(2, 0), Comparison(2, 1)), 2),
        (None, (Comparison(1, 0), Comparison(2, 1)), 2),  # 0 < 1 < 2: only 2 is never rejected
        (
            None,
            (Comparison(0, 1), Comparison(1, 2), Comparison(2, 0)),
            None,
        ),  # a circle: each is rejected once
        (None, (Comparison(0, 1, strength=0.0),), None),  # a tie is no order
        (None, (), None),
    ],
)
def test_best_response(
    scores: tuple[float, ...] | None, comparisons: tuple[Comparison, ...], best: int | None
) -> None:
    assert (
        best_response(Group("g", "p", ("x", "y", "z"), scores=scores, comparisons=comparisons))
        == best
    )


def test_a_best_response_that_does_not_fit_is_no_item(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = Encoder(tiny_tokenizer, LengthConfig(max_response=8), context=10)
    for scores, found in ((3, 2, 1), False), ((2, 3, 1), True):
        encoded = encoder.group(Group("g", "prompt", ("long one", "x", "y"), scores), Ledger())
        assert encoded is not None
        assert (sft_item(encoded) is not None) == found


def test_a_group_without_a_best_response_is_no_item(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = Encoder(tiny_tokenizer, LengthConfig())
    encoded = encoder.group(Group("g", "p", ("x", "y")), Ledger())
    assert encoded is not None
    assert sft_item(encoded) is None
