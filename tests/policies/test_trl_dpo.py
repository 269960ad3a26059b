"""The whole path from text rows to gradients, against TRL's DPOTrainer.

Weights are float64, but TRL takes log-probabilities in float32 whatever the weights are (its fused
output layer), and norms and rotary angles are float32 inside Llama on both sides. A response here
has up to 25 tokens and sums to some −100 nats: one rounding of such a sum is 100 · 2⁻²⁴ ≈ 6e-6.
Hence a relative 1e-5, and 1e-5 where values near 0 are differences of such sums.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig as TRLConfig
from trl import DPOTrainer
from trl_settings import WITHOUT_CHECKPOINTS

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.items import Pairs, preference_items
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.reference import with_reference
from rewarddiff.records import Comparison, Group, Message

BETA = 0.3
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)
TEXTS = [
    (" Name a colour. ", " Red, or perhaps green.", " No"),
    ("2 + 2?\n\nAnswer:", " 4", " I would say it is five."),
    ("?", "Yes!\n", "Yes! "),
]


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=262,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,  # far from uniform, so that the pairs differ
        attention_dropout=0.0,
    )
    return LlamaForCausalLM(config).double()


def rows(conversational: bool) -> tuple[list[dict[str, Any]], list[Group]]:
    """The same data in TRL's columns and as groups."""
    if not conversational:
        columns = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in TEXTS]
        return columns, [Group(str(i), p, (c, r)) for i, (p, c, r) in enumerate(TEXTS)]
    columns = [
        {
            "prompt": [{"role": "user", "content": p}],
            "chosen": [{"role": "assistant", "content": c}],
            "rejected": [{"role": "assistant", "content": r}],
        }
        for p, c, r in TEXTS
    ]
    return columns, [
        Group(str(i), (Message("user", p),), (c, r)) for i, (p, c, r) in enumerate(TEXTS)
    ]


def theirs(
    columns: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    reference_seed: int,
    output: Path,
) -> tuple[float, dict[str, float], dict[str, torch.Tensor]]:
    settings = {
        "per_device_train_batch_size": len(columns),
        "report_to": "none",
        **WITHOUT_CHECKPOINTS,
    }
    trainer = DPOTrainer(
        model=llama(0),
        ref_model=llama(reference_seed),
        args=TRLConfig(output_dir=str(output), beta=BETA, use_cpu=True, bf16=False, **settings),
        train_dataset=Dataset.from_list(columns),
        processing_class=tokenizer,
    )
    policy: Any = trainer.model
    assert policy.dtype == torch.float64
    loss = trainer.compute_loss(policy, next(iter(trainer.get_train_dataloader())))
    loss.backward()
    (metrics,) = [m for m in trainer._metrics.values() if m]
    return (
        loss.item(),
        {k: metrics[k][0] for k in METRICS},
        {n: p.grad for n, p in policy.named_parameters()},
    )


def ours(
    groups: list[Group], tokenizer: PreTrainedTokenizerFast, reference_seed: int
) -> tuple[float, dict[str, float], dict[str, torch.Tensor]]:
    policy, reference = LogProbs(llama(0)), LogProbs(llama(reference_seed))
    assert not policy.trunk.plain  # read as token trees, not as the padded rows TRL reads
    encoder = Encoder(tokenizer, LengthConfig(), context=1024)
    items = [
        i
        for e in encoder.groups(groups, Ledger())
        for i in preference_items(e, Pairs.unweighted([Comparison(0, 1)]))
    ]
    items = with_reference(items, reference, TrainConfig(precision="fp32"), weights="the reference")
    output = Alignment(policy, DPO(beta=BETA)).loss(policy, items)
    loss = output.loss / len(items)
    loss.backward()
    gradients = {n.removeprefix("trunk.model."): p.grad for n, p in policy.named_parameters()}
    return (
        loss.item(),
        {name: output.metrics[name][0] / output.metrics[name][1] for name in METRICS},
        gradients,
    )


@pytest.mark.parametrize("conversational", [False, True])
def test_text_rows_to_gradients_equal_trl(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, conversational: bool
) -> None:
    columns, groups = rows(conversational)
    their_loss, their_metrics, their_gradients = theirs(columns, tiny_tokenizer, 1, tmp_path)
    our_loss, our_metrics, our_gradients = ours(groups, tiny_tokenizer, 1)

    assert (
        abs(their_loss - math.log(2)) > 0.1
    )  # policy and reference differ: the agreement says something
    assert our_loss == pytest.approx(their_loss, rel=1e-5, abs=1e-5)
    assert our_metrics == pytest.approx(their_metrics, rel=1e-5, abs=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(
            our_gradients[name], gradient, **CLOSE, msg=lambda m, name=name: f"{name}: {m}"
        )
    assert max(g.abs().max() for g in their_gradients.values()) > 0.1  # far above the tolerance


def test_at_step_0_both_lose_ln_2(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    columns, groups = rows(conversational=False)
    their_loss, _, _ = theirs(columns, tiny_tokenizer, 0, tmp_path)
    our_loss, our_metrics, _ = ours(groups, tiny_tokenizer, 0)
    assert their_loss == pytest.approx(math.log(2), abs=1e-7)  # ln 2 in float32
    assert our_loss == pytest.approx(math.log(2), abs=1e-12)
    assert our_metrics["rewards/margins"] == pytest.approx(0, abs=1e-12)
