"""Best of n: draw once, pick by any scorer, judge by another, for every n at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarddiff import __version__, models
from rewarddiff.config import at_least, load_recipe, positive
from rewarddiff.data import Ledger, load_groups
from rewarddiff.evaluation import best_of_n as law
from rewarddiff.evaluation.metrics import SHARE, Interval, bootstrap
from rewarddiff.evaluation.scorers import plain
from rewarddiff.outputs import folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.augment import drawn_by
from rewarddiff.pipeline.data import print_losses
from rewarddiff.pipeline.scorers import held_out_groups
from rewarddiff.pipeline.stage import write_json
from rewarddiff.records import Group
from rewarddiff.report.best_of_n import render_best_of_n
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.several import Temperature
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.store import Store
from rewarddiff.writing import say

Array = NDArray[np.float64]

EMPTY = "."
"""What scorers read where a draw is empty: a text without tokens has no score."""


@dataclass(frozen=True)
class BestOfConfig:
    """What is drawn, and for which n it is answered.

    Attributes:
        n: numbers of draws to pick from; one more than the largest is drawn of every prompt, once:
            what a pick is held against.
        limit: at most so many prompts.
        max_prompt: a longer prompt keeps its end.
        sampling: stop texts, batch size, seed.
        max_drop: largest share of the data's rows that may be dropped.
    """

    n: tuple[int, ...] = (1, 2, 4, 8, 16)
    temperature: float = 1.0
    max_new_tokens: int = 64
    limit: int | None = 32
    max_prompt: int | None = 256
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_drop: float = 0.05

    def __post_init__(self) -> None:
        at_least(self, 1, "limit", "max_prompt", "max_new_tokens")
        positive(self, "temperature")
        if not self.n or min(self.n) < 1:
            raise ValueError(f"n is {list(self.n)}, should be numbers of at least 1")


def best_of_n_stage(
    data: str | Path,
    model: str | Path,
    scorers: Sequence[str | Path],
    gold: str | Path,
    output: Path,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `output/best_of_n.json` and `.html`; draws and scores are kept in
    `output/store.sqlite`, and found again.

    Prompts that a scorer which picks was trained on are left out, unless there are no others.

    Args:
        scorers: those that pick. A difference model's score of a draw is its difference to the
            first draw.
        gold: the scorer that judges every pick; if it picks too, its own line says how far a pick
            can get.
        overrides: of `BestOfConfig`.

    Raises:
        UserError: nothing to read, or a model or scorer that is none.
    """
    config: BestOfConfig = load_recipe({}, overrides, BestOfConfig)
    output = user_path(output)
    with folder_for(output):
        _say_replaced(output, {"data": str(data), "model": str(model), "gold": str(gold)})
        found = _measured(data, model, list(map(str, scorers)), str(gold), config, output)
        write_json(output / "best_of_n.json", found)
        render_best_of_n(found, output)
    return found


def _say_replaced(output: Path, asked: Mapping[str, str]) -> None:
    """Say beforehand which answers of other data, another policy or another judge will be
    replaced."""
    try:
        earlier = json.loads((output / "best_of_n.json").read_text())
        before = {name: earlier[name] for name in asked}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if before != asked:
        told = ", ".join(f"{name} {value}" for name, value in before.items())
        say(f"{output}: what is there will be replaced ({told})")


def _measured(
    data: str | Path,
    model: str | Path,
    scorers: Sequence[str],
    gold: str,
    config: BestOfConfig,
    output: Path,
) -> dict[str, Any]:
    """The content of `best_of_n.json`."""
    ledger = Ledger()
    read = list(load_groups(data, limit=config.limit, ledger=ledger, max_drop=config.max_drop))
    print_losses(ledger)
    groups, trained_on = held_out_groups(read, scorers)
    output.mkdir(parents=True, exist_ok=True)
    with Store(output / "store.sqlite") as store:
        draw = Temperature(
            k=max(config.n) + 1,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
        )
        drawn = drawn_by(model, groups, draw, config.sampling, config.max_prompt, store)
        lists = [
            g.with_responses([s.text.strip() or EMPTY for s in own])
            for g, own in zip(groups, drawn, strict=True)
        ]
        values = {name: _scores(name, lists, store) for name in dict.fromkeys([*scorers, gold])}
    return {
        "schema": 1,
        "version": __version__,
        "data": str(data),
        "model": str(model),
        "gold": gold,
        "config": asdict(config),
        "prompts": len(groups),
        "trained_on": trained_on,
        "ledger": ledger.to_dict(),
        "empty": sum(not s.text.strip() for own in drawn for s in own),
        "rows": [
            row for name in scorers for row in _rows(name, values[name], values[gold], config.n)
        ],
        "fits": [_fit(name, values[name], values[gold], config.n) for name in scorers],
    }


def _scores(name: str, lists: Sequence[Group], store: Store) -> Array:
    """Of every draw, (prompts, draws)."""
    scorer = load_scorer(user_path(name)).to(models.device())
    if scorer.kind == "reward" or len(lists[0].responses) == 1:
        return np.stack(scorer.scores(lists, store=store, progress=f"scores by {name}"))
    pairs = [[(i, 0) for i in range(1, len(group.responses))] for group in lists]
    found = scorer.differences(lists, pairs, store=store, progress=f"differences by {name}")
    return np.stack([np.concatenate([[0.0], d]) for d in found])


def _rows(name: str, scores: Array, gold: Array, sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "scorer": name,
            "n": n,
            "kl": float(law.kl(n)),
            "score": asdict(_gain(scores, scores, n)),
            "gold": asdict(_gain(scores, gold, n)),
            "wins": asdict(bootstrap(law.wins(scores, gold, n), bounds=SHARE)),
        }
        for n in sorted(set(sizes))
    ]


def _gain(scores: Array, values: Array, n: int) -> Interval:
    # Of one draw there is nothing to pick: it gains 0, not by the look of some prompts but of all.
    bounds = (0.0, 0.0) if n == 1 else None
    return bootstrap(law.gain(scores, values, n), bounds=bounds)


def _fit(name: str, scores: Array, gold: Array, sizes: Sequence[int]) -> dict[str, Any]:
    gains = [float(law.gain(scores, gold, n).mean()) for n in sizes]
    return {"scorer": name, **fitted(sizes, gains)}


def fitted(sizes: Sequence[int], gains: Sequence[float]) -> dict[str, float | None]:
    """The law of over-optimisation as plain JSON values: `alpha`, `beta`, `peak`, and the nats that
    were `measured`.

    The peak is None where it lies beyond those.
    """
    law_of_gains = law.overoptimisation(list(sizes), list(gains))
    measured = float(law.kl(max(sizes)))
    if law_of_gains.peak > measured:
        law_of_gains = replace(law_of_gains, peak=math.nan)
    figures: dict[str, float | None] = plain({**asdict(law_of_gains), "measured": measured})
    return figures
