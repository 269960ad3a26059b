"""A recipe: what is learned from which data, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewarddiff.coefficients import COLUMN, CoefficientConfig
from rewarddiff.config import at_least, to_dict
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.paths import run_folder
from rewarddiff.pipeline.policy_recipe import (
    OrderConfig,
    PolicyRecipe,
    SemiOnlineRecipe,
    StrengthConfig,
)
from rewarddiff.pipeline.scorer_checks import GRADES, check_name, check_scorers
from rewarddiff.pipeline.scorer_recipe import JUDGES, AnyScorer, ScorerRecipe
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.served import ServedModel
from rewarddiff.scorers.judging.options import Judge, Panel
from rewarddiff.scorers.protocol import ScorerOptions

BASE = "base"
"""The name of the model before training among the policies."""

COLUMNS = ("order", "coefficient", "strength")
"""Keys of a policy that only concern policies which have them."""


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
                self._check_columns(name, policy)
                self._check_online(name, policy)
            else:
                self._check_elsewhere(name, policy)
        self._check_served()

    def _check_served(self) -> None:
        """Refuse one name of two servers' models, whose answers would be kept as one's. Raises UserError."""
        places = []
        for name, served in self.served.items():
            places.append((f"policies.{name}.served.model", served.model, served.url))
        for name, scorer in self.scorers.items():
            if isinstance(scorer, Judge) and scorer.model is not None:
                places.append((f"scorers.{name}.model", scorer.model, str(scorer.url)))
        urls: dict[str, str] = {}
        for place, model, own_url in places:
            url = urls.setdefault(model, own_url)
            if url != own_url:
                raise UserError(
                    f"{place}: {model} is also a model at {url}, and answers "
                    "are kept under this name; have one of the servers give its model another"
                )

    def _check_elsewhere(self, name: str, policy: PolicyRecipe) -> None:
        """Refuse what a policy that is only judged has no use for. Raises UserError."""
        for kind in COLUMNS:
            if getattr(policy, kind) is not None:
                raise UserError(
                    f"policies.{name}.{kind}: this policy is trained already ({policy.elsewhere}) and has "
                    "no use for it; leave it out"
                )
        cause = ""
        if not self.scorers:
            cause = "the recipe has no scorers; add one"
        elif not self.data.splits.get("test"):
            cause = "data.splits has no share for test; give it one"
        if cause:
            key = "trained" if policy.served is None else "served"
            raise UserError(f"policies.{name}.{key}: such a policy is only judged, and {cause}")

    def _check_online(self, name: str, policy: PolicyRecipe) -> None:
        """Refuse what a policy that learns from its own samples cannot use. Raises UserError."""
        if policy.online is None:
            return
        source = self.online_source(name)
        if isinstance(policy.online, SemiOnlineRecipe):
            self._check_semi_online(name, policy, policy.online)
            return
        for kind in COLUMNS:
            if getattr(policy, kind) is not None:
                raise UserError(
                    f"policies.{name}.{kind}: a policy that learns online has no comparisons to "
                    "give it to; leave it out, or leave online out"
                )
        try:
            policy.online.config(policy).check(
                pointwise=self.scorers[source].kind == "reward",
                has_r=source not in self.judges and self.scorers[source].kind != "difference",
            )
        except UserError as error:
            raise UserError(f"policies.{name}.online: {error}") from error

    def _check_semi_online(self, name: str, policy: PolicyRecipe, online: SemiOnlineRecipe) -> None:
        """Refuse what pairs of samples cannot be trained with. Raises UserError."""
        place = f"policies.{name}"
        if policy.order is not None:
            raise UserError(
                f"{place}.order: whoever scores the samples has them in order; leave it out"
            )
        for kind, column in policy.columns.items():
            if column.source != online.reward.source:
                raise UserError(
                    f"{place}.{kind}.source: {column.source}, and the samples are read by "
                    f"{online.reward.source}; leave it out"
                )
        if policy.strength is not None and policy.strength.orders != "both":
            raise UserError(f"{place}.strength.orders: pairs are read as online.design says")
        try:
            online.config(policy)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error

    def online_source(self, policy: str) -> str:
        """Return the scorer of a policy's samples.

        Raises:
            UserError: the recipe has no such scorer.
        """
        online = self.policies[policy].online
        assert online is not None
        source = online.reward.source
        if source is not None and source in self.scorers:
            return source
        cause = "is missing" if source is None else f"no scorer '{source}'"
        names = ", ".join(self.scorers) or "none"
        raise UserError(
            f"policies.{policy}.online.reward.source: {cause}; name a scorer (there are: {names})"
        )

    def _check_columns(self, name: str, policy: PolicyRecipe) -> None:
        if policy.reads_strength and policy.strength is None and policy.online is None:
            raise UserError(
                f"policies.{name}: objective {policy.objective.name} reads strengths; say where "
                f"they come from with policies.{name}.strength.source=grades, or the name of a "
                "scorer"
            )
        for kind, column in policy.columns.items():
            place = f"policies.{name}.{kind}"
            if not policy.objective.compares:
                raise UserError(
                    f"{place}: objective {policy.objective.name} learns single responses and has no use "
                    "for it; leave it out"
                )
            if self.source_of(name, kind) == GRADES:
                _check_grades(place, column, policy)
            elif self.source_of(name, kind) == COLUMN:
                continue  # what goes with it is the column's own matter
            elif isinstance(column, CoefficientConfig) and column.lower:
                self._check_spread(place, self.source_of(name, kind))

    def _check_spread(self, place: str, name: str) -> None:
        """Refuse a lower bound of a scorer without a spread. What others have shows later."""
        scorer = self.scorers[name]
        if not isinstance(scorer, ScorerRecipe) or scorer.heads > 1 or scorer.trained:
            return
        mend = f"set scorers.{name}.heads to 5"
        if scorer.aspects:
            mend = "use one without aspects, with heads: 5"
        raise UserError(f"{place}.lower: scorer '{name}' has no spread over heads; {mend}")

    def source_of(self, policy: str, kind: str) -> str:
        """Return the scorer that a policy's coefficients, strengths or order come from, or `grades`.

        Raises:
            UserError: the recipe has no such scorer.
        """
        source = self.policies[policy].columns[kind].source
        place = f"policies.{policy}.{kind}.source"
        names = ", ".join(self.scorers) or "none"
        if source is None:
            instead = "" if kind == "order" else f", or {GRADES}"
            if kind == "coefficient":
                instead += f", or {COLUMN}"
            raise UserError(f"{place}: is missing; name a scorer (there are: {names}){instead}")
        if source in self.scorers or (source == GRADES and kind != "order"):
            return source
        if source == COLUMN and kind == "coefficient":
            return source
        of_kind = [name for name, scorer in self.scorers.items() if scorer.kind == source]
        mend = f"; write source: {of_kind[0]}" if len(of_kind) == 1 else ""
        raise UserError(f"{place}: no scorer '{source}' (there are: {names}){mend}")

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


def _check_grades(
    place: str, column: OrderConfig | CoefficientConfig | StrengthConfig, policy: PolicyRecipe
) -> None:
    """Refuse what the data's own strengths cannot be used for. Raises UserError."""
    if isinstance(column, StrengthConfig) and policy.order is not None:
        raise UserError(
            f"{place}.source: grades, but the order is that of a scorer, whose strengths are in "
            "another unit; take them from that scorer too"
        )
    if not isinstance(column, OrderConfig) and column.calibrated:
        raise UserError(
            f"{place}.calibrated: grades have no temperature; leave it out, or change source"
        )
    if isinstance(column, CoefficientConfig) and column.lower:
        raise UserError(f"{place}.lower: grades have no spread; leave it out, or change source")
