"""The whole path from a file of labelled rows to gradients, against TRL's KTOTrainer.

Weights are float64, but TRL takes log-probabilities in float32 whatever the weights are (its fused
output layer), and norms and rotary angles are float32 inside Llama on both sides. A response here
has up to 25 tokens and sums to some −200 nats: one rounding of such a sum is 200 · 2⁻²⁴ ≈ 1.2e-5.
z0 and the log-ratios are (means of) differences of two such sums, so they agree within 3e-5; a loss
has a slope of at most 1.5 · β/4 ≈ 0.11 in each of them, so losses agree within 1e-5. Gradients are
in proportion to that slope, which varies less still.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from test_trl_dpo import llama
from transformers import PreTrainedTokenizerFast
from trl import KTOConfig as TRLConfig
from trl import KTOTrainer
from trl_settings import WITHOUT_CHECKPOINTS

from rewarddiff.data import Ledger, read
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.items import Pairs
from rewarddiff.policies.objectives.lists import KTO
from rewarddiff.policies.reference import with_mismatch, with_reference

BETA = 0.3
WEIGHTS = {"desirable_weight": 1.5, "undesirable_weight": 0.7}
METRICS = ("kl", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")
TEXTS = [
    (" Name a colour. ", " Red, or perhaps green.", True),
    ("2 + 2?\n\nAnswer:", " I would say it is five.", False),
    ("?", "Yes!\n", True),
    ("Once", " upon a time", True),
    ("Say no", " No", False),
]
Found = tuple[float, dict[str, float], dict[str, torch.Tensor]]


def rows(conversational: bool) -> list[dict[str, Any]]:
    if not conversational:
        return [{"prompt": p, "completion": c, "label": yes} for p, c, yes in TEXTS]
    return [
        {
            "prompt": [{"role": "user", "content": p}],
            "completion": [{"role": "assistant", "content": c}],
            "label": yes,
        }
        for p, c, yes in TEXTS
    ]


def theirs(
    columns: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    seeds: tuple[int, int],
    output: Path,
) -> Found:
    settings = {
        "per_device_train_batch_size": len(columns),
        "report_to": "none",
        **WITHOUT_CHECKPOINTS,
    }
    trainer = KTOTrainer(
        model=llama(seeds[0]),
        ref_model=llama(seeds[1]),
        args=TRLConfig(
            output_dir=str(output), beta=BETA, use_cpu=True, bf16=False, **WEIGHTS, **settings
        ),
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


def ours(path: Path, tokenizer: PreTrainedTokenizerFast, seeds: tuple[int, int]) -> Found:
    policy, reference = (LogProbs(llama(seed)) for seed in seeds)
    encoder, objective = Encoder(tokenizer, LengthConfig(), context=1024), KTO(beta=BETA, **WEIGHTS)
    groups = [(group, Pairs.unweighted(())) for group in read(path, ledger=Ledger())]
    items = objective.items(groups, encoder, Ledger())
    # TRL puts the response of the row before beside each prompt, and the last beside the first;
    # `with_mismatch` that of the next row. So in reverse order the two pair the same.
    items = with_reference(
        with_mismatch(items[::-1]), reference, TrainConfig(precision="fp32"), weights="reference"
    )
    goal = Alignment(policy, objective)
    with torch.no_grad():
        goal.begin(items, goal.probe(policy, items), training=True)
    output = goal.loss(policy, items)
    loss = output.loss / sum(map(goal.count, items))
    loss.backward()
    gradients = {n.removeprefix("trunk.model."): p.grad for n, p in policy.named_parameters()}
    return (
        loss.item(),
        {name: output.metrics[name][0] / output.metrics[name][1] for name in METRICS},
        gradients,
    )


@pytest.mark.parametrize(
    ("conversational", "seeds", "above"),
    [(False, (0, 1), False), (False, (1, 0), True), (True, (0, 1), True), (True, (1, 0), False)],
    ids=[
        "plain, z0 cut at 0",
        "plain, z0 above 0",
        "conversations, z0 above 0",
        "conversations, z0 cut at 0",
    ],
)
def test_a_file_of_labels_to_gradients_equals_trl(
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    conversational: bool,
    seeds: tuple[int, int],
    above: bool,
) -> None:
    columns = rows(conversational)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in columns))
    their_loss, their_metrics, their_gradients = theirs(columns, tiny_tokenizer, seeds, tmp_path)
    our_loss, our_metrics, our_gradients = ours(path, tiny_tokenizer, seeds)

    assert (their_metrics["kl"] > 0) == above
    assert our_loss == pytest.approx(their_loss, rel=1e-5, abs=1e-5)
    assert our_metrics == pytest.approx(their_metrics, rel=1e-5, abs=3e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(
            our_gradients[name],
            gradient,
            rtol=1e-5,
            atol=1e-5,
            msg=lambda m, name=name: f"{name}: {m}",
        )
    assert max(g.abs().max() for g in their_gradients.values()) > 0.05  # far above the tolerance
