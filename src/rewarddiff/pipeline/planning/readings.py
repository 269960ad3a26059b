"""What a recipe's models read of groups, counted once for all stages that read the same."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from rewarddiff.data import Groups
from rewarddiff.designs import DesignConfig
from rewarddiff.encoding import Encoder
from rewarddiff.footprint.shapes import Shape, shape_of
from rewarddiff.pipeline.planning import amounts
from rewarddiff.pipeline.planning.amounts import Amount
from rewarddiff.pipeline.policy_recipe import PolicyRecipe
from rewarddiff.pipeline.recipe import Recipe


class Readings:
    """Shapes of a recipe's models, and amounts that they read.

    Args:
        most: prompts of each split that are tokenised.
    """

    def __init__(self, recipe: Recipe, most: int) -> None:
        self.recipe = recipe
        self.most = most
        self._amounts: dict[Any, Amount] = {}
        self._counting: dict[str, Any] = {}

    # -- scorers ------------------------------------------------------------------------------

    def scorer_shape(self, name: str) -> Shape:
        """Return the shape of a scorer that is a model."""
        config = self.recipe.scorer_models[name]
        return shape_of(config.trained or config.backbone)

    def by_scorer(
        self,
        name: str,
        groups: Groups,
        *,
        design: DesignConfig | None = None,
        training: bool = False,
    ) -> Amount:
        """Return what a scorer reads of groups, in training or when it is asked."""
        config = self.recipe.scorer_models[name]
        source = config.trained or config.backbone
        looks = repr((config.kind, config.head, config.lengths, config.item_comparisons, source))
        key = (looks, id(groups), repr(design), training)
        if key not in self._amounts:
            if looks not in self._counting:
                encoder = self.scorer_shape(name).encoder
                self._counting[looks] = amounts.counting(config.own, source, encoder=encoder)
            self._amounts[key] = amounts.of_scorer(
                self._counting[looks], groups, self.most, design=design, both=not training
            )
        return self._amounts[key]

    def trained_by_scorer(self, name: str, groups: Groups) -> Amount:
        """Return what a scorer is trained on: all, or as many comparisons as it asks for."""
        amount = self.by_scorer(name, groups, training=True)
        most = self.recipe.scorer_models[name].comparisons
        if most is None:
            return amount
        sample = amounts.sampled(groups)
        of_sample = sum(len(list(group.known_comparisons())) for group in sample)
        share = min(1.0, most / max(1.0, of_sample * len(groups) / len(sample)))
        return replace(amount, items=share * amount.items, tokens=amount.tokens.times(share))

    # -- policies -----------------------------------------------------------------------------

    @cached_property
    def policy_shape(self) -> Shape:
        """The shape of the model that policies start from."""
        return shape_of(str(self.recipe.model))

    @cached_property
    def _encoder(self) -> Encoder:
        return amounts.encoder_of(str(self.recipe.model), self.recipe.lengths)

    def by_policy(self, policy: PolicyRecipe, groups: Groups) -> Amount:
        """Return what a policy's objective reads of groups."""
        key = (repr(policy.objective), policy.order is None, id(groups))
        if key not in self._amounts:
            self._amounts[key] = amounts.of_policy(policy, self._encoder, groups, self.most)
        return self._amounts[key]

    def prompt(self, groups: Groups) -> float:
        """Return the mean number of tokens of a prompt."""
        return amounts.mean_prompt(self._encoder, groups, self.most)
