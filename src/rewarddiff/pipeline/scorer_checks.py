"""What types cannot say of a recipe's scorers: their names, and who stands before whom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rewarddiff.coefficients import COLUMN
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.pipeline.scorer_recipe import AnyScorer, ScorerRecipe
from rewarddiff.results import LABELS, MAJORITY, PEOPLE
from rewarddiff.scorers.judging.options import FEW, Panel
from rewarddiff.scorers.people import People

GRADES = "grades"
"""The name of the data's own strengths among the scorers."""

RESERVED = {
    GRADES: "the data's own strengths",
    COLUMN: "the data's own coefficients",
    MAJORITY: "all judges together",
    LABELS: "the data's labels",
}
"""What columns may come from, and who is named among judges, that is no scorer of the recipe."""

NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")
"""Names of runs, scorers, policies and test files: of folders that are neither hidden nor above."""


def check_name(where: str, name: str) -> None:
    """Refuse a name that can name no folder. Raises UserError."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{where}: '{name}' names a folder; use letters, digits and -+._ only, "
            "and no dot at its beginning"
        )


def check_scorers(scorers: Mapping[str, AnyScorer]) -> None:
    """Refuse names that are taken, and scorers that need one which does not stand before them.

    Raises:
        UserError: names the key.
    """
    earlier: list[str] = []
    for name, scorer in scorers.items():
        check_name("scorers", name)
        if name in RESERVED:
            raise UserError(
                f"scorers.{name}: {RESERVED[name]} have this name; give the scorer another"
            )
        if name == PEOPLE and not isinstance(scorer, People):
            raise UserError(
                f"scorers.{name}: is of kind {scorer.kind}, and people's votes have this name; "
                "give the scorer another"
            )
        if isinstance(scorer, ScorerRecipe) and scorer.warm_start is not None:
            _check_start(scorers, name, scorer.warm_start, earlier)
        if isinstance(scorer, Panel):
            _check_panel(scorers, name, scorer, earlier)
        earlier.append(name)


def _check_panel(
    scorers: Mapping[str, AnyScorer], name: str, panel: Panel, earlier: Sequence[str]
) -> None:
    place = f"scorers.{name}.of"
    for member in panel.of:
        if member in earlier:
            continue
        if member in scorers:
            raise UserError(f"{place}: '{member}' does not stand before it; move it up")
        names = ", ".join(earlier) or "none"
        raise UserError(f"{place}: no scorer '{member}' stands before it (there are: {names})")
    if len(panel.of) < 2:
        raise UserError(f"{place}: {FEW}")


def _check_start(
    scorers: Mapping[str, AnyScorer], name: str, start: str, earlier: Sequence[str]
) -> None:
    place = f"scorers.{name}.warm_start"
    if start not in scorers:
        # A name of the hub has a slash, as most paths have.
        if "/" not in start and not user_path(start).is_dir():
            names = ", ".join(earlier) or "none"
            raise UserError(
                f"{place}: '{start}' is no scorer that stands before it (there are: {names}), "
                "and no folder; name one, or leave warm_start out"
            )
        return
    if start not in earlier:
        raise UserError(f"{place}: '{start}' does not stand before it; move it up")
    if not isinstance(scorers[start], ScorerRecipe):
        raise UserError(
            f"{place}: '{start}' is of kind {scorers[start].kind} and no model; "
            "name a model, or leave it out"
        )
