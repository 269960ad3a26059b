"""What types cannot say of a recipe's policies: which scorers they learn from, and what goes together."""

from __future__ import annotations

from collections.abc import Mapping

from rewarddiff.coefficients import COLUMN, CoefficientConfig
from rewarddiff.errors import UserError
from rewarddiff.pipeline.policy_recipe import (
    COLUMNS,
    OrderConfig,
    PolicyRecipe,
    SemiOnlineRecipe,
    StrengthConfig,
)
from rewarddiff.pipeline.scorer_checks import GRADES
from rewarddiff.pipeline.scorer_recipe import JUDGES, AnyScorer, ScorerRecipe
from rewarddiff.scorers.judging.options import Judge

Policies = Mapping[str, PolicyRecipe]
"""A recipe's policies by name."""

Scorers = Mapping[str, AnyScorer]
"""A recipe's scorers by name."""


def check_trained_here(name: str, policy: PolicyRecipe, scorers: Scorers) -> None:
    """Refuse what a policy that the run trains cannot use. Raises UserError."""
    _check_columns(name, policy, scorers)
    _check_online(name, policy, scorers)


def check_elsewhere(
    name: str, policy: PolicyRecipe, scorers: Scorers, splits: Mapping[str, float]
) -> None:
    """Refuse what a policy that is only judged has no use for. Raises UserError."""
    for kind in COLUMNS:
        if getattr(policy, kind) is not None:
            raise UserError(
                f"policies.{name}.{kind}: this policy is trained already ({policy.elsewhere}) and has "
                "no use for it; leave it out"
            )
    cause = ""
    if not scorers:
        cause = "the recipe has no scorers; add one"
    elif not splits.get("test"):
        cause = "data.splits has no share for test; give it one"
    if cause:
        key = "trained" if policy.served is None else "served"
        raise UserError(f"policies.{name}.{key}: such a policy is only judged, and {cause}")


def check_served(policies: Policies, scorers: Scorers) -> None:
    """Refuse one name of two servers' models, whose answers would be kept as one's. Raises UserError."""
    places = []
    for name, policy in policies.items():
        if policy.served is not None:
            served = policy.served
            places.append((f"policies.{name}.served.model", served.model, served.url))
    for name, scorer in scorers.items():
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


def _check_columns(name: str, policy: PolicyRecipe, scorers: Scorers) -> None:
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
        source = source_of(name, policy, kind, scorers)
        if source == GRADES:
            _check_grades(place, column, policy)
        elif source == COLUMN:
            continue  # what goes with it is the column's own matter
        elif isinstance(column, CoefficientConfig) and column.lower:
            _check_spread(place, source, scorers[source])


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


def _check_spread(place: str, name: str, scorer: AnyScorer) -> None:
    """Refuse a lower bound of a scorer without a spread. What others have shows later."""
    if not isinstance(scorer, ScorerRecipe) or scorer.heads > 1 or scorer.trained:
        return
    mend = f"set scorers.{name}.heads to 5"
    if scorer.aspects:
        mend = "use one without aspects, with heads: 5"
    raise UserError(f"{place}.lower: scorer '{name}' has no spread over heads; {mend}")


def source_of(name: str, policy: PolicyRecipe, kind: str, scorers: Scorers) -> str:
    """Return the scorer that a policy's coefficients, strengths or order come from, or `grades`.

    Raises:
        UserError: the recipe has no such scorer.
    """
    source = policy.columns[kind].source
    place = f"policies.{name}.{kind}.source"
    names = ", ".join(scorers) or "none"
    if source is None:
        instead = "" if kind == "order" else f", or {GRADES}"
        if kind == "coefficient":
            instead += f", or {COLUMN}"
        raise UserError(f"{place}: is missing; name a scorer (there are: {names}){instead}")
    if source in scorers or (source == GRADES and kind != "order"):
        return source
    if source == COLUMN and kind == "coefficient":
        return source
    of_kind = [other for other, scorer in scorers.items() if scorer.kind == source]
    mend = f"; write source: {of_kind[0]}" if len(of_kind) == 1 else ""
    raise UserError(f"{place}: no scorer '{source}' (there are: {names}){mend}")


def _check_online(name: str, policy: PolicyRecipe, scorers: Scorers) -> None:
    """Refuse what a policy that learns from its own samples cannot use. Raises UserError."""
    if policy.online is None:
        return
    source = online_source(name, policy, scorers)
    if isinstance(policy.online, SemiOnlineRecipe):
        _check_semi_online(name, policy, policy.online)
        return
    for kind in COLUMNS:
        if getattr(policy, kind) is not None:
            raise UserError(
                f"policies.{name}.{kind}: a policy that learns online has no comparisons to "
                "give it to; leave it out, or leave online out"
            )
    try:
        policy.online.config(policy).check(
            pointwise=scorers[source].kind == "reward",
            has_r=not isinstance(scorers[source], JUDGES) and scorers[source].kind != "difference",
        )
    except UserError as error:
        raise UserError(f"policies.{name}.online: {error}") from error


def _check_semi_online(name: str, policy: PolicyRecipe, online: SemiOnlineRecipe) -> None:
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


def online_source(name: str, policy: PolicyRecipe, scorers: Scorers) -> str:
    """Return the scorer of a policy's samples.

    Raises:
        UserError: the recipe has no such scorer.
    """
    online = policy.online
    assert online is not None
    source = online.reward.source
    if source is not None and source in scorers:
        return source
    cause = "is missing" if source is None else f"no scorer '{source}'"
    names = ", ".join(scorers) or "none"
    raise UserError(
        f"policies.{name}.online.reward.source: {cause}; name a scorer (there are: {names})"
    )
