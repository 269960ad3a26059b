"""Whether a judge that a command names had a part in training a policy of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewarddiff.pipeline.contestants import Contestant, recipe_of
from rewarddiff.pipeline.contrasts import used_in_training
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.win_rates import Used
from rewarddiff.results import read_results
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.neural.identity import answers_fingerprint
from rewarddiff.scorers.opening import fingerprint_of, is_judge, is_model, judge_options


def used_by(named: Sequence[Contestant], judges: Mapping[str, str]) -> Used:
    """Return what tells whether a judge had a part in training a policy, as far as it is known.

    Of a file and of a model's folder nothing is known; of a run's policy, its recipe tells.

    Args:
        judges: the texts that name them, by the names that results have for them.
    """
    marks_of_judges = {name: _marks(text) for name, text in judges.items()}
    marks_of_policies = {one.name: _marks_of_training(one) for one in named}

    def used(policy: str, judge: str) -> bool:
        return not marks_of_judges.get(judge, set()).isdisjoint(marks_of_policies[policy])

    return used


def _marks(text: str) -> set[str]:
    """Return what a judge is known by: a hash of what it answers, and the model that is asked."""
    if is_judge(text):
        return _marks_of_options(judge_options(text))
    if is_model(text):
        return {answers_fingerprint(text)}
    return {fingerprint_of(text)}


def _marks_of_options(options: Judge) -> set[str]:
    """Return the same of a language model: asked in another form, it is the same judge."""
    return {f"language model {options.local or options.model}"}


def _marks_of_training(one: Contestant) -> set[str]:
    """Return the marks of all scorers that had a part in training a policy."""
    if one.run is None or one.policy == BASE:
        return set()
    recipe = recipe_of(one.run)
    policy = _policy_of(recipe, one.policy)
    if policy not in recipe.trained_here:
        return set()
    marks: set[str] = set()
    for result in read_results(one.run).scorers:
        if used_in_training(recipe, policy, result.scorer):
            marks.add(result.fingerprint)
            config = recipe.scorers[result.scorer]
            if isinstance(config, Judge):
                marks |= _marks_of_options(config)
    return marks


def _policy_of(recipe: Recipe, folder: str) -> str:
    """Return the policy whose folder in a run has this name, with its seed or without."""
    for name in recipe.policies:
        if folder in (name, *(f"{name}-{seed}" for seed in recipe.seeds)):
            return name
    return folder
