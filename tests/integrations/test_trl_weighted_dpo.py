"""DPO in TRL with coefficients, against TRL itself and against this project's own DPO.

TRL takes log-probabilities in float32 whatever the weights are (its fused output layer), so values
agree with ours to some 1e-6; against TRL itself they agree to the bit.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast
from trl import DPOTrainer
from trl_examples import COEFFICIENTS, Make, logged, policy, rows, weights

from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.data.ledger import Ledger
from rewarddiff.differences import Differences
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.integrations.trl import WeightedDPOTrainer
from rewarddiff.integrations.trl.pair_means import with_pair_mean
from rewarddiff.loop import optimizers
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.items import Pairs, preference_items
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.reference import with_reference
from rewarddiff.records import Comparison, Group

PER_PAIR = ["sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard",
            "apo_zero", "apo_down", "discopop", "sigmoid_norm"]  # fmt: skip


def groups() -> list[Group]:
    pairs = []
    for place, row in enumerate(rows()):
        pairs.append(Group(str(place), row["prompt"], (row["chosen"], row["rejected"])))
    return pairs


def own_dpo(
    tokenizer: PreTrainedTokenizerFast, output: Path, coefficients: tuple[float, ...]
) -> dict[str, torch.Tensor]:
    """Return the weights after three steps of this project's own DPO."""
    trained, reference = LogProbs(policy(0)), LogProbs(policy(1))
    encoder = Encoder(tokenizer, LengthConfig(), context=1024)
    settings = TrainConfig(
        lr=1e-3, max_steps=3, epochs=3, schedule="constant", warmup=0.0, max_grad_norm=0.0,
        batch_size=len(coefficients), precision="fp32", eval_every=None, save_every=0,
    )  # fmt: skip
    items = []
    encoded = encoder.groups(groups(), Ledger())
    for group, coefficient in zip(encoded, coefficients, strict=True):
        items += preference_items(group, Pairs((Comparison(0, 1),), (coefficient,)))
    items = with_reference(items, reference, settings, weights="the reference")
    train(Alignment(trained, DPO(beta=0.3)), items, output=output, config=settings)
    names = trained.named_parameters()
    return {name.removeprefix("trunk.model."): p.detach().clone() for name, p in names}


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5


def plain_descent(groups: Any, *, lr: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "tolerance"),
    # Adam divides gradients by their size, so that float32's noise moves weights whose gradient is
    # nearly 0 as far as all others.
    [("sgd", 1e-5), ("adamw_torch", 1e-2)],
)
def test_three_steps_give_the_weights_of_our_own_dpo(
    dpo: Make,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
    tolerance: float,
) -> None:
    if optimizer == "sgd":
        monkeypatch.setattr(optimizers, "AdamW", plain_descent)
    trainer = dpo(WeightedDPOTrainer, rows(), optim=optimizer)
    trainer.train()
    theirs = weights(trainer)
    ours = own_dpo(tiny_tokenizer, tmp_path / "ours", COEFFICIENTS)
    unweighted = own_dpo(tiny_tokenizer, tmp_path / "ones", (1.0,) * 4)
    start = {name: p.detach() for name, p in policy(0).named_parameters()}

    moved = distance(ours, start)
    assert distance(ours, theirs) < tolerance * moved
    assert distance(unweighted, theirs) > 0.1 * moved


def ones(source: str) -> list[dict[str, Any]]:
    if source == "ones":
        return rows((1.0,) * 4)
    differences = [Differences.of([gap]) for gap in (3.0, -1.0, 0.5, 0.0)]
    weighed = weigh(differences, CoefficientConfig(alpha=0.0)).weights
    return rows(tuple(np.concatenate(weighed).tolist()))


@pytest.mark.parametrize("source", ["ones", "alpha = 0"])
def test_coefficients_of_one_are_trl_to_the_bit(dpo: Make, source: str) -> None:
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    evaluated = {"eval_strategy": "steps", "eval_steps": 1}
    weighted = dpo(
        WeightedDPOTrainer, ones(source), eval_dataset=Dataset.from_list(ones(source)), **settings,
        **evaluated,
    )  # fmt: skip
    plain = dpo(
        DPOTrainer, rows(None), eval_dataset=Dataset.from_list(rows(None)), **settings, **evaluated
    )
    weighted.train()
    plain.train()
    theirs = weights(plain)
    for name, value in weights(weighted).items():
        assert torch.equal(value, theirs[name]), name
    for key in ("loss", "eval_loss", "rewards/margins", "logps/chosen", "eval_rewards/accuracies"):
        assert len(logged(plain, key)) == 3
        assert logged(weighted, key) == logged(plain, key)
    assert logged(weighted, "coefficient/mean") == [1.0] * 3


def loss_and_gradient(trainer: Any) -> tuple[float, torch.Tensor]:
    trainer.model.zero_grad()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("loss_type", PER_PAIR)
def test_a_loss_is_the_sum_of_weighted_losses_over_the_count(dpo: Make, loss_type: str) -> None:
    """Against TRL's own loss of each pair alone: Σᵢ cᵢ·lᵢ / n."""
    settings = {"loss_type": loss_type, "label_smoothing": 0.1}
    value, gradient = loss_and_gradient(dpo(WeightedDPOTrainer, rows(), **settings))
    expected_value = 0.0
    expected_gradient = torch.zeros_like(gradient)
    for row, coefficient in zip(rows(None), COEFFICIENTS, strict=True):
        alone, gradient_alone = loss_and_gradient(dpo(DPOTrainer, [row], **settings))
        expected_value += coefficient * alone / 4
        expected_gradient += coefficient * gradient_alone / 4
    assert value == pytest.approx(expected_value, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    assert gradient.abs().max() > 0.01


BAD = [
    (None, "train_dataset: no column coefficient, only prompt, chosen, rejected;"),
    ((1.0, -0.5, 1.0, 1.0), "train_dataset: coefficient of row 1 is -0.5, expected a finite"),
    ((1.0, 1.0, float("nan"), 1.0), "train_dataset: coefficient of row 2 is nan"),
    ((1.0, 1.0, 1.0, None), "train_dataset: coefficient of row 3 is None"),
    (("1", "1", "1", "1"), "train_dataset: coefficient of row 0 is '1'"),
    ((0.0, 0.0, 0.0, 0.0), "train_dataset: every coefficient is 0, nothing would be trained"),
]


@pytest.mark.parametrize(("coefficients", "message"), BAD)
def test_a_column_that_is_none_is_refused(dpo: Make, coefficients: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        dpo(WeightedDPOTrainer, rows(coefficients))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("loss_type", ["sft", "aot", "aot_unpaired"])
def test_a_loss_that_is_of_no_pair_is_refused(dpo: Make, loss_type: str) -> None:
    with pytest.raises(UserError, match=f"loss_type: {loss_type} (sorts|averages)"):
        dpo(WeightedDPOTrainer, rows(), loss_type=loss_type)


def trained(trainer: Any) -> dict[str, torch.Tensor]:
    trainer.train()
    return weights(trainer)


def test_several_losses_and_reference_values_of_before_give_the_same(dpo: Make) -> None:
    expected = trained(dpo(WeightedDPOTrainer, rows()))
    precomputed = dpo(WeightedDPOTrainer, rows(), precompute_ref_log_probs=True)
    halves = dpo(
        WeightedDPOTrainer, rows(), loss_type=["sigmoid", "sigmoid"], loss_weights=[0.5, 0.5]
    )
    for trainer in (precomputed, halves):
        assert distance(trained(trainer), expected) < 1e-6
    # A data set that comes later is prepared as the first one was.
    metrics = precomputed.evaluate(Dataset.from_list(rows()))
    assert metrics["eval_loss"] == pytest.approx(
        halves.evaluate(Dataset.from_list(rows()))["eval_loss"]
    )


def test_rows_that_stream_in_keep_their_coefficients(dpo: Make) -> None:
    expected = trained(dpo(WeightedDPOTrainer, rows()))
    stream = datasets.Dataset.from_list(rows()).to_iterable_dataset().repeat(3)
    assert distance(trained(dpo(WeightedDPOTrainer, stream)), expected) < 1e-6  # shuffled otherwise
    late = datasets.Dataset.from_list(rows((1.0, 1.0, -1.0, 1.0))).to_iterable_dataset()
    with pytest.raises(UserError, match="a batch: coefficient of row 2 is -1"):
        dpo(WeightedDPOTrainer, late).train()


def test_an_evaluation_set_without_the_column_is_unweighted(dpo: Make) -> None:
    trainer = dpo(WeightedDPOTrainer, rows())
    plain = dpo(DPOTrainer, rows(None))
    unweighted = Dataset.from_list(rows(None))
    assert trainer.evaluate(unweighted)["eval_loss"] == plain.evaluate(unweighted)["eval_loss"]


def test_an_adapter_learns_with_coefficients_too(dpo: Make) -> None:
    def adapted() -> Any:
        torch.manual_seed(3)
        return get_peft_model(policy(0), LoraConfig(target_modules=["q_proj", "v_proj"]))

    def trainer(kind: type[DPOTrainer], coefficients: tuple[float, ...] | None) -> Any:
        return dpo(kind, rows(coefficients), model=adapted(), reference=None)

    plain = trained(trainer(DPOTrainer, None))
    ones_of_it = trained(trainer(WeightedDPOTrainer, (1.0,) * 4))
    weighted = trained(trainer(WeightedDPOTrainer, COEFFICIENTS))
    assert distance(ones_of_it, plain) == 0
    assert distance(weighted, plain) > 1e-3


class Otherwise:
    """A trainer as another version might have it."""

    def _compute_loss(self, per_sequence_loss: torch.Tensor) -> torch.Tensor:
        return per_sequence_loss.sum() / len(per_sequence_loss)


def test_a_trainer_that_averages_otherwise_is_refused() -> None:
    with pytest.raises(UserError, match=r"trl 1\.16.*averages pairs in 0 places, expected 1"):
        with_pair_mean(Otherwise, "_compute_loss")
    with pytest.raises(UserError, match=r"Otherwise\.get_batch_loss cannot be read"):
        with_pair_mean(Otherwise, "get_batch_loss")


def test_without_trl_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("rewarddiff.integrations.trl"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "trl.trainer.dpo_trainer", None)
    with pytest.raises(UserError, match=r"needs trl 1\.16: pip install 'rewarddiff\[trl\]'"):
        importlib.import_module("rewarddiff.integrations.trl")
