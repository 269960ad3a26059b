"""TRL's trainers of pairs, with the loss of each pair multiplied by its coefficient.

    loss = Σᵢ cᵢ·lᵢ / n over the n pairs of a batch

It is divided by the number of pairs and never by Σ c. Where every coefficient is 1 the trainers are
TRL's own to the bit.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from rewarddiff.errors import UserError
from rewarddiff.integrations.trl.columns import COLUMN, WithCoefficients, check_training_data
from rewarddiff.integrations.trl.pair_means import with_pair_mean
from rewarddiff.losses.shapes import require_same_shape

try:
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.reward_trainer import RewardTrainer
except ImportError:
    raise UserError(
        "rewarddiff.integrations.trl needs trl 1.16: pip install 'rewarddiff[trl]'"
    ) from None

BEYOND_PAIRS = {
    "sft": "averages over the tokens of a batch",
    "aot": "sorts a batch",
    "aot_unpaired": "sorts a batch",
}
"""Kinds of DPO loss whose values belong to no pair, and why."""


Loss = Tensor | tuple[Tensor, Any]
"""What trainers return: the loss, with the model's outputs where these are asked for."""


class _Weighted(Trainer):
    """What both trainers share: the column's way from the dataset into the loss."""

    data_collator: Any
    _metrics: dict[str, defaultdict[str, list[float]]]
    _signature_columns: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        arguments = inspect.signature(super().__init__).bind(*args, **options).arguments
        dataset = arguments.get("train_dataset")
        if dataset is not None:
            check_training_data(dataset)
        super().__init__(*args, **options)
        self.data_collator = WithCoefficients(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if COLUMN not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, COLUMN]

    def _log_coefficients(self, coefficients: Tensor) -> None:
        mode = "train" if self.model is not None and self.model.training else "eval"
        mean = self.accelerator.gather_for_metrics(coefficients).mean()
        self._metrics[mode]["coefficient/mean"].append(mean.item())


class WeightedDPOTrainer(_Weighted, DPOTrainer):
    """TRL's DPOTrainer for datasets with a column `coefficient`.

    Arguments are those of TRL. An evaluation set without the column is evaluated unweighted.

    Raises:
        UserError: the training set has no such column, or coefficients that are none; or a
            `loss_type` that has no loss for each pair.
    """

    _weighted_loss = with_pair_mean(DPOTrainer, "_compute_loss")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in self.loss_types:
            if name in BEYOND_PAIRS:
                raise UserError(
                    f"loss_type: {name} {BEYOND_PAIRS[name]}, so no coefficient of a pair can "
                    "multiply it; leave it out, or use TRL's own trainer"
                )

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Loss:
        coefficients, pairs = _without_column(inputs)
        if coefficients is None:
            return super()._compute_loss(model, pairs, return_outputs)
        self._log_coefficients(coefficients)
        self._coefficients = coefficients  # for `pair_mean`, which TRL's method comes to
        return self._weighted_loss(model, pairs, return_outputs)

    def pair_mean(self, losses: Tensor) -> Tensor:
        """Return Σ cᵢ·lᵢ / n over the pairs of the batch at hand."""
        return _weighed(losses, self._coefficients).mean()

    def compute_ref_log_probs(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        _, pairs = _without_column(inputs)
        return super().compute_ref_log_probs(model, pairs)


class WeightedRewardTrainer(_Weighted, RewardTrainer):
    """TRL's RewardTrainer for datasets with a column `coefficient`.

    Arguments are those of TRL. A column `margin` still acts as it does there, within the loss of a
    pair; what `center_rewards_coefficient` adds is not weighed.

    Raises:
        UserError: the training set has no such column, or coefficients that are none.
    """

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Loss:
        coefficients, pairs = _without_column(inputs)
        if coefficients is None:
            return super().compute_loss(model, pairs, return_outputs, num_items_in_batch)
        self._log_coefficients(coefficients)
        loss, outputs = super().compute_loss(model, pairs, return_outputs=True)
        chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
        losses = -nn.functional.logsigmoid(chosen - rejected - pairs.get("margin", 0.0))
        # TRL's loss holds each pair once; adding (c − 1) times its loss adds exactly 0 where c is 1.
        loss = loss + _weighed(losses, coefficients - 1).mean()
        return (loss, outputs) if return_outputs else loss


def _weighed(losses: Tensor, coefficients: Tensor) -> Tensor:
    """Return cᵢ·lᵢ of every pair."""
    require_same_shape(losses=losses, coefficients=coefficients)
    return losses * coefficients.to(losses)


def _without_column(inputs: dict[str, Any]) -> tuple[Tensor | None, dict[str, Any]]:
    """Return the coefficients of a batch (None: it has none), and the batch without them."""
    rest = dict(inputs)
    return rest.pop(COLUMN, None), rest
