"""A recipe: what is learned from which data, in one YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rewarddiff.coefficients import COLUMN, CoefficientConfig
from rewarddiff.config import at_least, positive
from rewarddiff.designs import DesignConfig
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.pipeline.scorer_recipe import AnyScorer, ScorerRecipe
from rewarddiff.policies.policy import PolicyConfig
from rewarddiff.rankings import Method
from rewarddiff.sampling import SamplingConfig
from rewarddiff.scorers.protocol import Orders

BASE = "base"
"""The name of the model before training among the policies."""

GRADES = "grades"

RESERVED = {GRADES: "the data's own strengths", COLUMN: "the data's own coefficients"}
"""What columns may come from that is no scorer of the recipe."""
"""The name of the data's own strengths among the scorers."""

COLUMNS = ("order", "coefficient", "strength")
"""Keys of a policy that only concern policies which have them."""

NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")
"""Names of runs, scorers, policies and test files: of folders that are neither hidden nor above."""


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
class StrengthConfig:
    """Where an objective that reads strengths (an offset, a target, a soft label) takes them from.

    Attributes:
        source: the name of a scorer of the recipe, or `grades`, the data's own strengths.
        orders: ask a scorer that reads two responses together in one order, or average both.
        calibrated: divide differences by the scorer's temperature: they are then log-odds, the unit
            of soft labels and offsets.
        scale: what the differences are multiplied by; grades come in the data's own unit.
    """

    source: str | None = None
    orders: Orders = "both"
    calibrated: bool = False
    scale: float = 1.0

    replaced: ClassVar[Mapping[str, str]] = CoefficientConfig.replaced

    def __post_init__(self) -> None:
        positive(self, "scale")


@dataclass(frozen=True)
class OrderConfig:
    """A scorer that puts every group's responses in order, in place of the data.

    RRHF(diff) is that, with a difference model. Responses get scores, and the comparisons of the
    data (all pairs where it has none) are turned as the scores say. For a coefficient,
    `source: grades` is then the gap of the scores.

    Attributes:
        source: the name of a scorer of the recipe.
        method: from differences to scores; of a design that leaves comparisons out, potentials.
        design: the comparisons that a difference model reads.
    """

    source: str | None = None
    method: Method = "potentials"
    design: DesignConfig = field(default_factory=DesignConfig)

    replaced: ClassVar[Mapping[str, str]] = CoefficientConfig.replaced

    def __post_init__(self) -> None:
        if self.method != "potentials" and not self.design.complete:
            raise ValueError(
                f"method {self.method} needs every comparison, design {self.design.mode} leaves "
                "some out: use potentials"
            )


@dataclass(frozen=True)
class PolicyRecipe(PolicyConfig):
    """A policy and where its columns come from.

    Attributes:
        order: who says which response is better in training; None: the data.
        coefficient: what multiplies each comparison's loss; None is the baseline, every comparison
            at 1.
        strength: what an objective that reads strengths is given; the others leave it alone.
    """

    order: OrderConfig | None = None
    coefficient: CoefficientConfig | None = None
    strength: StrengthConfig | None = None

    @property
    def reads_strength(self) -> bool:
        return "strength" in self.objective.reads

    @property
    def treated(self) -> bool:
        """Whether strengths change what it is trained with: not a baseline, nor a control."""
        weighted = self.coefficient is not None and self.coefficient.control == "none"
        return weighted or self.order is not None

    @property
    def columns(self) -> dict[str, OrderConfig | CoefficientConfig | StrengthConfig]:
        """The columns it is trained with, by name."""
        columns: dict[str, OrderConfig | CoefficientConfig | StrengthConfig] = {}
        if self.order is not None:
            columns["order"] = self.order
        if self.coefficient is not None:
            columns["coefficient"] = self.coefficient
        if self.strength is not None and self.reads_strength:
            columns["strength"] = self.strength
        return columns


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
    def folder(self) -> Path:
        """Where the run is written."""
        return user_path(self.output) if self.output else Path("runs") / self.name

    def check(self) -> None:
        """Check what types cannot say. Raises UserError."""
        _check_name("name", self.name)
        if self.policies and self.model is None:
            raise UserError(f"recipe {self.name}: policies need a model; set model=")
        if not self.seeds:
            raise UserError(f"recipe {self.name}: seed is an empty list; give at least one")
        for name in self.data.tests:
            _check_name("data.tests", name)
        if "test" in self.data.tests:
            raise UserError(
                "data.tests.test: the run's own held-out split has this name; give the file another"
            )
        self._check_scorers()
        for name, policy in self.policies.items():
            _check_name("policies", name)
            if name == BASE:
                raise UserError(
                    f"policies.{BASE}: the model before training has this name; "
                    "give the policy another"
                )
            self._check_columns(name, policy)

    def _check_scorers(self) -> None:
        earlier: list[str] = []
        for name, scorer in self.scorers.items():
            _check_name("scorers", name)
            if name in RESERVED:
                raise UserError(
                    f"scorers.{name}: {RESERVED[name]} have this name; give the scorer another"
                )
            if isinstance(scorer, ScorerRecipe) and scorer.warm_start is not None:
                self._check_start(name, scorer.warm_start, earlier)
            earlier.append(name)

    def _check_start(self, name: str, start: str, earlier: Sequence[str]) -> None:
        if start not in self.scorers:
            return
        place = f"scorers.{name}.warm_start"
        if start not in earlier:
            raise UserError(f"{place}: '{start}' does not stand before it; move it up")
        if start not in self.scorer_models:
            raise UserError(
                f"{place}: '{start}' is of kind {self.scorers[start].kind} and no model; "
                "name a model, or leave it out"
            )

    def _check_columns(self, name: str, policy: PolicyRecipe) -> None:
        if policy.reads_strength and policy.strength is None:
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

    def sources_of(self, policy: str) -> set[str]:
        """Return the scorers that have a part in training a policy."""
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


def _check_name(where: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"{where}: '{name}' names a folder; use letters, digits and -+._ only, "
            "and no dot at its beginning"
        )
