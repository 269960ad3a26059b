"""What a ranking by fewer comparisons costs in quality: designs and methods side by side, on lists of known order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rewarddiff import models
from rewarddiff.data import load_groups
from rewarddiff.designs import DesignConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.metrics import two_way_bootstrap
from rewarddiff.pipeline.stage import write_json
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.scorers.build import load_scorer
from rewarddiff.scorers.ranking import DesignFigures, compare_designs

REFERENCE = DesignConfig("all")
"""With whose scores the others' are correlated."""


def designs_stage(
    scorers: Sequence[str | Path],
    data: str | Path,
    budgets: Sequence[int] = (),
    *,
    limit: int | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measure all designs by all methods; with `output`, also as JSON there.

    Args:
        scorers: of one kind, trained with several seeds: figures are means over them, intervals over them and groups.
        budgets: comparisons of a list, further designs.
        limit: at most so many groups.

    Raises:
        UserError: no list with a known order; a budget that cannot join a list's responses.
    """
    groups = [g for g in load_groups(data, limit=limit) if any(not c.tie for c in g.known_comparisons())]
    if not groups:
        raise UserError(f"{data}: no list has a known order; give its responses scores, ranks or comparisons")
    designs = [DesignConfig("both"), REFERENCE, *(DesignConfig("budget", n) for n in budgets), DesignConfig("anchor")]
    runs = [_measured(scorer, groups, designs) for scorer in scorers]
    rows = [_row(own) for own in zip(*runs, strict=True)]
    sizes = [len(group.responses) for group in groups]
    found = {
        "schema": 1,
        "data": str(data),
        "scorers": [str(scorer) for scorer in scorers],
        "groups": len(groups),
        "responses": {"mean": float(np.mean(sizes)), "least": min(sizes), "most": max(sizes)},
        "rows": rows,
    }
    if output is not None:
        write_json(output, found)
    return found


def _measured(scorer: str | Path, groups: Sequence[Group], designs: Sequence[DesignConfig]) -> list[DesignFigures]:
    loaded = load_scorer(Path(scorer)).to(models.device())
    methods: tuple[Method, ...] = get_args(Method)
    return compare_designs(loaded, groups, designs, methods, reference=REFERENCE, progress=f"comparisons by {scorer}")


def _row(runs: Sequence[DesignFigures]) -> dict[str, Any]:
    """A design by a method: means over the seeds."""
    first = runs[0]
    means = {
        key: float(np.mean([getattr(run, key) for run in runs]))
        for key in ("tokens", "uncertainty", "inconsistency", "cyclic", "spearman", "kendall")
    }
    return {
        "design": asdict(first.design),
        "method": first.method,
        "readings": first.readings / max(1, first.groups),
        **means,
        "accuracy": asdict(two_way_bootstrap([run.right for run in runs], first.asked)),
    }
