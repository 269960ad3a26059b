"""A recipe: what is learned from which data, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewarddiff.coefficients import COLUMN
from rewarddiff.config import at_least, to_dict
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.paths import run_folder
from rewarddiff.pipeline.policy_checks import (
    check_elsewhere,
    check_served,
    check_trained_here,
    online_source,
    source_of,
)
from rewarddiff.pipeline.policy_recipe import PolicyRecipe
from rewarddiff.pipeline.scorer_checks import GRADES, check_name, check_scorers
from rewarddiff.pipeline.scorer_recipe import JUDGES, AnyScorer, ScorerRecipe
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.served import ServedModel
from rewarddiff.scorers.judging.options import Panel
from rewarddiff.scorers.protocol import ScorerOptions

BASE = "base"
"""The name of the model before training among the policies."""


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how it is split: by a hash of the prompt, so a prompt is never in two splits.

    Attributes:
        path: a file, a folder, a hub dataset, or "demo". PATH#SPLIT is one split of a folder or
            dataset.
        split: which split to read of a folder or dataset that has several, named here or as
            PATH#SPLIT; a file has none.
        format: of the rows, where their columns do not tell.
        columns: those with other names in the file, by ours: {prompt: question, chosen: good,
            rejected: bad}. A dotted name reaches into objects and lists: meta.question, answers.0. Of
            `tests`, those that have such columns are read so too.
        splits: shares of train, dev and test; prompts are dealt out by a hash.
        tests: further held-out files for the scorers, by name (another distribution, say), each as
            `path` is given: {shifted: other.jsonl, own: folder#test}. Prompts that are also in the
            training split are counted.
        limit: at most so many groups of `path`.
        max_comparisons: at most so many comparisons of each group, drawn by `seed`; None: all.
        max_drop: largest share of rows that may be dropped before the run is refused.
        seed: of the split; a run's own seeds never move a prompt.
    """

    path: str = "demo"
    split: str | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.7, "dev": 0.1, "test": 0.2}
    )
    limit: int | None = None
    max_comparisons: int | None = None
    max_drop: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "limit", "max_comparisons")
        if not 0 <= self.max_drop <= 1:
            raise ValueError(
                f"max_drop is {self.max_drop}, should be a share of the rows, from 0 to 1"
            )
        if not self.splits.get("train", 0) > 0:
            raise ValueError(f"splits is {dict(self.splits)}, should have a share for train")


@dataclass(frozen=True)
class EvaluationConfig:
    """How policies are judged: samples on held-out prompts, scored by every scorer of the recipe.

    Attributes:
        prompts: at most so many held-out prompts; None: all of the test split.
        sampling: how the responses that are judged are drawn.
        shown: prompts whose samples stand side by side in the report.
    """

    prompts: int | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    shown: int = 6

    def __post_init__(self) -> None:
        at_least(self, 1, "prompts")
        at_least(self, 0, "shown")


@dataclass(frozen=True)
class Recipe:
    """Everything one run does, for each seed.

    Attributes:
        name: of the run, and of its folder under runs/ where `output` is not given. output: the
            run's folder.
        data: what is learned from. evaluation: how policies are judged.
        model: the policy's starting point and reference; null where only scorers are trained.
        lengths: token limits for the policy.
        scorers: by name; `kind` says what each is. A model's `warm_start` may name another model of
            the recipe that stands before it.
        policies: by name, in the order of the report; the base model itself is always evaluated.
        seed: one seed or several; with several the report's intervals are over seeds.
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    model: str | None = None
    lengths: LengthConfig = field(default_factory=LengthConfig)
    scorers: Mapping[str, AnyScorer] = field(default_factory=dict)
    policies: Mapping[str, PolicyRecipe] = field(default_factory=dict)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int | tuple[int, ...] = 0
    output: str | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of the run."""
        if isinstance(self.seed, int):
            return (self.seed,)
        return self.seed

    @property
    def scorer_models(self) -> dict[str, ScorerRecipe]:
        """The scorers that are models, trained here or before, by name."""
        scorer_models = {}
        for name, scorer in self.scorers.items():
            if isinstance(scorer, ScorerRecipe):
                scorer_models[name] = scorer
        return scorer_models

    @property
    def judges(self) -> dict[str, ScorerOptions]:
        """The scorers that give verdicts on policies, and no rewards, by name."""
        judges: dict[str, ScorerOptions] = {}
        for name, scorer in self.scorers.items():
            if isinstance(scorer, JUDGES):
                judges[name] = scorer
        return judges

    @property
    def panels(self) -> dict[str, Panel]:
        """The judges that say what a majority of other scorers says, by name."""
        panels = {}
        for name, scorer in self.scorers.items():
            if isinstance(scorer, Panel):
                panels[name] = scorer
        return panels

    @property
    def trained_here(self) -> dict[str, PolicyRecipe]:
        """The policies that this run trains, by name."""
        return {name: policy for name, policy in self.policies.items() if policy.elsewhere is None}

    @property
    def trained_elsewhere(self) -> dict[str, str]:
        """The policies that this run only judges, by name: where they lie."""
        places = {}
        for name, policy in self.policies.items():
            if policy.elsewhere is not None:
                places[name] = policy.elsewhere
        return places

    @property
    def folders_elsewhere(self) -> dict[str, str]:
        """The folders of the policies that this run only judges, by name."""
        folders = {}
        for name, policy in self.policies.items():
            if policy.trained is not None:
                folders[name] = policy.trained
        return folders

    @property
    def served(self) -> dict[str, ServedModel]:
        """The policies that this run asks a server for, by name."""
        served = {}
        for name, policy in self.policies.items():
            if policy.served is not None:
                served[name] = policy.served
        return served

    @property
    def heeded(self) -> dict[str, Any]:
        """The recipe as plain data, without keys of trained models that nothing heeds."""
        recipe: dict[str, Any] = to_dict(self)
        for name, scorer in self.scorer_models.items():
            recipe["scorers"][name] = scorer.heeded
        for name, policy in self.policies.items():
            recipe["policies"][name] = policy.heeded
        return recipe

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return run_folder(self.name, self.output)

    def check(self) -> None:
        """Check what types cannot say. Raises UserError."""
        check_name("name", self.name)
        if self.policies and self.model is None:
            raise UserError(f"recipe {self.name}: policies need a model; set model=")
        if not self.seeds:
            raise UserError(f"recipe {self.name}: seed is an empty list; give at least one")
        for name in self.data.tests:
            check_name("data.tests", name)
        if "test" in self.data.tests:
            raise UserError(
                "data.tests.test: the run's own held-out split has this name; give the file another"
            )
        check_scorers(self.scorers)
        for name, policy in self.policies.items():
            check_name("policies", name)
            if name == BASE:
                raise UserError(
                    f"policies.{BASE}: the model before training has this name; "
                    "give the policy another"
                )
            if policy.elsewhere is None:
                check_trained_here(name, policy, self.scorers)
            else:
                check_elsewhere(name, policy, self.scorers, self.data.splits)
        check_served(self.policies, self.scorers)

    def online_source(self, policy: str) -> str:
        """Return the scorer of a policy's samples.

        Raises:
            UserError: the recipe has no such scorer.
        """
        return online_source(policy, self.policies[policy], self.scorers)

    def source_of(self, policy: str, kind: str) -> str:
        """Return the scorer that a policy's coefficients, strengths or order come from, or `grades`.

        Raises:
            UserError: the recipe has no such scorer.
        """
        return source_of(policy, self.policies[policy], kind, self.scorers)

    def has_weights_of_data(self, policy: str) -> bool:
        """Whether a policy is trained with coefficients that the data brings, whoever made them."""
        if policy == BASE:
            return False
        coefficient = self.policies[policy].coefficient
        return coefficient is not None and coefficient.source == COLUMN

    def sources_of(self, policy: str) -> set[str]:
        """Return the scorers that have a part in training a policy."""
        if self.policies[policy].online is not None:
            return {self.online_source(policy)}
        sources = {self.source_of(policy, kind) for kind in self.policies[policy].columns}
        return sources - {GRADES, COLUMN}
