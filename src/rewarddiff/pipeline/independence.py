"""Whether a judge that a command names had a part in training a policy of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewarddiff.pipeline.contestants import Contestant, recipe_of
from rewarddiff.pipeline.contrasts import used_in_training
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.scorer_recipe import AnyScorer, ScorerRecipe
from rewarddiff.pipeline.win_rates import Used
from rewarddiff.results import read_results
from rewarddiff.scorers.judging.options import Panel
from rewarddiff.scorers.marks import mark, marks
from rewarddiff.scorers.neural.identity import answers_fingerprint
from rewarddiff.scorers.opening import is_model, options_named


def used_by(named: Sequence[Contestant], judges: Mapping[str, str]) -> Used:
    """Return what tells whether a judge had a part in training a policy, as far as it is known.

    Of a file and of a model's folder nothing is known; of a run's policy, its recipe tells.

    Args:
        judges: the texts that name them, by the names that results have for them; people among them.
    """
    mark_of_judges = {name: _mark_of(text) for name, text in judges.items()}
    marks_of_policies = {one.name: _marks_of_training(one) for one in named}

    def used(policy: str, judge: str) -> bool:
        return mark_of_judges[judge] in marks_of_policies[policy]

    return used


def _mark_of(text: str) -> str:
    """Return what a judge is known by."""
    options = options_named(text)
    if options is not None:
        return mark(options)
    return answers_fingerprint(text) if is_model(text) else text


def _marks_of_training(one: Contestant) -> set[str]:
    """Return the marks of all scorers that had a part in training a policy."""
    if one.run is None or one.policy == BASE:
        return set()
    recipe = recipe_of(one.run)
    policy = _policy_of(recipe, one.policy)
    if policy not in recipe.trained_here:
        return set()
    used = [name for name in recipe.scorers if used_in_training(recipe, policy, name)]
    known_by: set[str] = set()
    for name in used:
        known_by |= _marks_of_options(recipe.scorers[name])
    for result in read_results(one.run).scorers:
        if result.scorer in used:
            known_by.add(result.fingerprint)
    return known_by


def _marks_of_options(config: AnyScorer) -> set[str]:
    """Return the marks of a scorer of a recipe; none of a model's, whose results have its hash.

    A panel's members are scorers of the recipe themselves.
    """
    if isinstance(config, ScorerRecipe | Panel):
        return set()
    return marks(config)


def _policy_of(recipe: Recipe, folder: str) -> str:
    """Return the policy whose folder in a run has this name, with its seed or without."""
    for name in recipe.policies:
        if folder in (name, *(f"{name}-{seed}" for seed in recipe.seeds)):
            return name
    return folder
