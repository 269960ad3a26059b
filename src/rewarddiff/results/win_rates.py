"""Policies held against each other by judges: win rates, agreement, and what judging took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rewarddiff.results.fields import Figure, Interval, Strict

MAJORITY = "majority"
"""The name of the panel as a whole among judges: more than half of all judges say so."""

PEOPLE = "people"
"""The name of human votes among judges, where no scorer of the recipe has brought them."""

LABELS = "labels"
"""The name of the data's labels among judges: who labelled, people or a model, is not known."""


@dataclass(frozen=True)
class LengthControl(Strict):
    """A win rate as it would be at equal lengths, by AlpacaEval's model without difficulties.

    Attributes:
        rate: NaN where the model cannot be fitted. Its interval is over prompts.
        remark: why it is not to be relied on; empty where nothing speaks against it.
    """

    rate: Interval
    remark: str


@dataclass(frozen=True, kw_only=True)
class WinRate(Strict):
    """Policy a against policy b under one judge, for one seed or over all of them.

    Attributes:
        judge: a scorer's name, or `MAJORITY`.
        used_in_training: whether the judge, or one of the same start, had a part in training either.
        same: pairs of the same answer, among n: ties, about which nobody is asked.
        n: pairs of responses, one for each prompt and seed. scored: those with a verdict; the
            shares are of these.
        win, tie, lose: of a.
        rate: wins and half of the ties.
        worst, best: the rate if a had lost, or won, all that is unscored.
        p: of a sign test over wins and losses, two-sided; NaN over several seeds, of which it tells
            nothing.
        turned: share of verdicts that turn with the order (position bias), of those asked both ways.
            first: share of these that favour what is read first.
        longer: share of decided verdicts in which the longer response wins, of unequal lengths.
        length_controlled: the rate at equal lengths.
        unscored: causes with their counts.
    """

    a: str
    b: str
    judge: str
    seed: int | Literal["all"]
    used_in_training: bool
    n: int
    scored: int
    win: Interval
    tie: Interval
    lose: Interval
    rate: Interval
    worst: Figure
    best: Figure
    p: Figure
    turned: Interval
    first: Figure
    longer: Interval
    length_controlled: LengthControl
    unscored: Mapping[str, int]
    same: int = 0


@dataclass(frozen=True, kw_only=True)
class JudgeAgreement(Strict):
    """How far two judges (or a judge and `PEOPLE`, or `LABELS`) say the same of the same pairs.

    Attributes:
        n: pairs that both scored.
        percent: share of them with the same outcome: win, tie or lose.
        kappa: Cohen's. kappa_weighted: with linear weights.
        alpha: Krippendorff's, nominal, of these two alone.
    """

    a: str
    b: str
    n: int
    percent: Interval
    kappa: Interval
    kappa_weighted: Interval
    alpha: Interval


@dataclass(frozen=True)
class PanelAgreement(Strict):
    """How far all judges, or all annotators, say the same; pairs that one judged count nothing.

    Attributes:
        who: "judges" or "people".
        raters: how many. items: pairs that two or more judged.
        nominal, ordinal, interval: Krippendorff's α of outcomes, of grades in order, of grades as
            numbers; NaN where grades are not comparable.
        full: share of the items on which all agree.
    """

    who: str
    raters: int
    items: int
    nominal: Interval
    ordinal: Interval
    interval: Interval
    full: Interval


@dataclass(frozen=True)
class Rank(Strict):
    """A policy's place among several under one judge, by Bradley and Terry's model.

    Attributes:
        strength: log-odds against the mean policy, whose strength is 0; NaN where no comparisons
            connect the policies.
        rate: mean win rate against the others.
        remark: why strengths are not to be relied on; empty where nothing speaks against them.
    """

    judge: str
    policy: str
    strength: Interval
    rate: Figure
    remark: str = ""


@dataclass(frozen=True)
class Canary(Strict):
    """An answer that should lose to every real one, held against a policy by a judge.

    Attributes:
        kind: "constant": the same sentence whatever is asked; "boast": a claim to have won.
        rate: of the canary, wins and half of the ties.
        alarming: whether the interval's lower end is above what an honest judge gives.
    """

    judge: str
    kind: Literal["constant", "boast"]
    against: str
    rate: Interval
    scored: int
    alarming: bool


@dataclass(frozen=True, kw_only=True)
class JudgeUse(Strict):
    """What judging by one judge took.

    Attributes:
        model: what it is, or where.
        calls: requests that were answered, repeats among them. kept: verdicts found in the store.
        prompt_tokens, completion_tokens: as the server counts them; None where it does not say.
        price: in the currency of the prices given; None without prices.
        estimated_price: what was foreseen for the calls, before they were made.
        failures: answers that were no verdict, or requests that failed, by cause; repeats that
            succeeded among them.
        notes: what the server does not do of what was asked, as heed a seed.

    All counts but `kept` are of every run that asked, interrupted ones too.
    """

    judge: str
    kind: str
    model: str
    calls: int
    kept: int
    prompt_tokens: int | None
    completion_tokens: int | None
    price: float | None
    estimated_price: float | None
    failures: Mapping[str, int]
    seconds: Figure
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttackRate(Strict):
    """How often a policy did what an attack asked for, by a judge (RED-EVAL).

    Attributes:
        rate: share of scored responses that are harmful.
        unscored: causes with their counts.
    """

    policy: str
    judge: str
    rate: Interval
    n: int
    scored: int
    unscored: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class JudgeResults(Strict):
    """All that judges and people say of policies."""

    win_rates: tuple[WinRate, ...]
    agreements: tuple[JudgeAgreement, ...]
    panels: tuple[PanelAgreement, ...]
    ranking: tuple[Rank, ...]
    canaries: tuple[Canary, ...]
    attacks: tuple[AttackRate, ...]
    uses: tuple[JudgeUse, ...]

    @classmethod
    def none(cls) -> JudgeResults:
        """Return what is said where nobody judged."""
        return cls(
            win_rates=(),
            agreements=(),
            panels=(),
            ranking=(),
            canaries=(),
            attacks=(),
            uses=(),
        )
