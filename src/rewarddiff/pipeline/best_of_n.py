"""Best of n: draw once, pick by any scorer, judge by another, for every n at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import __version__, models
from rewarddiff.config import at_least, load_recipe, positive
from rewarddiff.data import Ledger, load_groups
from rewarddiff.evaluation import best_of_n as law
from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import SHARE, bootstrap
from rewarddiff.outputs import run_folder_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.augment import drawn_by
from rewarddiff.pipeline.data import print_losses
from rewarddiff.pipeline.scorers import held_out_groups
from rewarddiff.pipeline.stage import write_json
from rewarddiff.processes import once, shared
from rewarddiff.records import Group
from rewarddiff.remembering import open_store
from rewarddiff.report.best_of_n import render_best_of_n
from rewarddiff.results import (
    BestOfResults,
    Interval,
    LedgerCounts,
    OverOptimisation,
    Pick,
    plain,
    read,
)
from rewarddiff.sampling import SamplingConfig
from rewarddiff.sampling.several import Temperature
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.ranking import scores
from rewarddiff.store import Store
from rewarddiff.writing import say

EMPTY = "."
"""What scorers read where a draw is empty: a text without tokens has no score."""

FILE = "best_of_n.json"


@dataclass(frozen=True)
class BestOfConfig:
    """What is drawn, and for which n it is answered.

    Attributes:
        n: numbers of draws to pick from; one more than the largest is drawn of every prompt, once:
            what a pick is held against.
        limit: at most so many prompts.
        max_prompt: a longer prompt keeps its end.
        sampling: stop texts, batch size, seed, engine.
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


@shared()
def best_of_n_stage(
    data: str | Path,
    model: str | Path,
    scorers: Sequence[str | Path],
    gold: str | Path,
    output: Path,
    overrides: Sequence[str] = (),
    **reading: Any,
) -> BestOfResults:
    """Write `output/best_of_n.json` and `.html`, and return the results.

    Draws and scores are kept in `output/store.sqlite`, and read again. Prompts that a scorer which
    picks was trained on are left out, unless there are no others.

    Args:
        scorers: those that pick. A difference model's score of a draw is its difference to the
            first draw.
        gold: the scorer that judges every pick; if it picks too, its own line says how far a pick
            can get.
        overrides: of `BestOfConfig`. reading: how data is read, see `load_groups`.

    Raises:
        UserError: nothing to read, or a model or scorer that is none.
    """
    config: BestOfConfig = load_recipe({}, overrides, BestOfConfig)
    output = user_path(output)
    with run_folder_for(output):
        _say_replaced(output, {"data": str(data), "model": str(model), "gold": str(gold)})
        names = [str(scorer) for scorer in scorers]
        results = _measured(data, model, names, str(gold), config, output, reading)
        write_json(output / FILE, plain(results))
        once(lambda: render_best_of_n(results, output))
    return results


def _say_replaced(output: Path, asked: Mapping[str, str]) -> None:
    """Say beforehand which answers to another question will be replaced."""
    try:
        earlier = json.loads((output / FILE).read_text())
        before = {name: earlier[name] for name in asked}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if before != asked:
        named = ", ".join(f"{name} {value}" for name, value in before.items())
        say(f"{output}: what is there will be replaced ({named})")


def _measured(
    data: str | Path,
    model: str | Path,
    scorers: Sequence[str],
    gold: str,
    config: BestOfConfig,
    output: Path,
    reading: Mapping[str, Any],
) -> BestOfResults:
    for name in [*scorers, gold]:
        once(partial(models.resolve, name))  # what is not there is missed before anything is drawn
    ledger = Ledger()
    options = {"max_drop": config.max_drop, **reading}
    groups = load_groups(data, limit=config.limit, ledger=ledger, **options)
    print_losses(ledger)
    held_out, trained_on = held_out_groups(list(groups), scorers)
    draw = Temperature(
        k=max(config.n) + 1,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
    )
    output.mkdir(parents=True, exist_ok=True)
    with open_store(output / "store.sqlite") as store:
        samples = drawn_by(model, held_out, draw, config.sampling, config.max_prompt, store)
        texts = [[sample.text.strip() for sample in of_prompt] for of_prompt in samples]
        lists = []
        for group, of_prompt in zip(held_out, texts, strict=True):
            lists.append(group.with_responses([text or EMPTY for text in of_prompt]))
        scores = {name: _scores(name, lists, store) for name in dict.fromkeys([*scorers, gold])}
    picks = []
    fits = []
    for name in scorers:
        picks += [_pick(name, n, scores[name], scores[gold]) for n in sorted(set(config.n))]
        fits.append(_fit(name, scores[name], scores[gold], config.n))
    return BestOfResults(
        version=__version__,
        data=str(data),
        model=str(model),
        gold=gold,
        config=asdict(config),
        prompts=len(held_out),
        trained_on=trained_on,
        ledger=read(LedgerCounts, ledger.to_dict()),
        empty=sum(of_prompt.count("") for of_prompt in texts),
        rows=tuple(picks),
        fits=tuple(fits),
    )


def _scores(name: str, lists: Sequence[Group], store: Store) -> Array:
    """Return the score of every draw, (prompts, draws)."""
    scorer = load_scorer(user_path(name)).to(models.device())
    if scorer.kind == "reward" or len(lists[0].responses) == 1:
        return np.stack(scores(scorer, lists, store=store, progress=f"scores by {name}"))
    pairs = [[(i, 0) for i in range(1, len(group.responses))] for group in lists]
    differences = scorer.differences(lists, pairs, store=store, progress=f"differences by {name}")
    return np.stack([np.concatenate([[0.0], d.mean]) for d in differences])


def _pick(name: str, n: int, scores: Array, gold: Array) -> Pick:
    return Pick(
        scorer=name,
        n=n,
        kl=float(law.kl(n)),
        score=_gain(scores, scores, n),
        gold=_gain(scores, gold, n),
        wins=bootstrap(law.wins(scores, gold, n), bounds=SHARE),
    )


def _gain(scores: Array, values: Array, n: int) -> Interval:
    bounds = None
    if n == 1:  # of one draw nothing is picked: it gains 0 of any prompt, not only of those seen
        bounds = (0.0, 0.0)
    return bootstrap(law.gain(scores, values, n), bounds=bounds)


def _fit(name: str, scores: Array, gold: Array, sizes: Sequence[int]) -> OverOptimisation:
    gains = [float(law.gain(scores, gold, n).mean()) for n in sizes]
    return fit(name, sizes, gains)


def fit(name: str, sizes: Sequence[int], gains: Sequence[float]) -> OverOptimisation:
    """Fit the law of over-optimisation; a peak beyond the measured nats is none."""
    fitted = law.overoptimisation(list(sizes), list(gains))
    measured = float(law.kl(max(sizes)))
    peak = fitted.peak
    if peak > measured:
        peak = math.nan
    return OverOptimisation(name, fitted.alpha, fitted.beta, peak, measured)
