"""More responses to rank: those of the data and those a policy writes, scored, best first.

They are lists for RRHF and PRO. The defaults are how RRHF made its lists of HH (HH+): two responses
of the data and four diverse beams of the policy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import files, models
from rewarddiff.config import at_least, load_recipe
from rewarddiff.data import Ledger, Reason, load_groups
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.outputs import store_beside
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of, print_losses
from rewarddiff.processes import once, shared
from rewarddiff.records import Group, plain_prompt
from rewarddiff.remembering import open_store
from rewarddiff.sampling import Sample, SamplingConfig, read_here
from rewarddiff.sampling.several import Beams, Draw, Rejection, accept, several
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.scorers.ranking import scores
from rewarddiff.store import Store


@dataclass(frozen=True)
class AugmentConfig:
    """How lists are made.

    Attributes:
        draw: beams (RRHF's settings), temperature, or rejection by the scorer.
        own: keep the data's own responses among them.
        limit: at most so many groups.
        max_prompt: a longer prompt keeps its end.
        sampling: stop texts, batch size, seed, engine.
        max_drop: largest share of groups that may come out with fewer than two responses.
    """

    draw: Draw = field(default_factory=Beams)
    own: bool = True
    limit: int | None = None
    max_prompt: int | None = 256
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_drop: float = 0.05

    def __post_init__(self) -> None:
        at_least(self, 1, "limit", "max_prompt")


@shared()
def augment(
    data: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: Path,
    config: AugmentConfig | None = None,
    **reading: Any,
) -> Ledger:
    """Write one JSON line per prompt: `responses` best first, `scores` and `origins` of each.

    What was drawn and read is kept in `output` + ".store.sqlite", so that an interrupted run goes
    on.

    Args:
        reading: how data is read, see `load_groups`.

    Raises:
        UserError: nothing to read, a model or scorer that is none, too many groups with nothing to
            rank.
    """
    config = config or AugmentConfig()
    output = user_path(output)
    with file_made_of(data, output, reading.get("split"), held=True):
        ledger = Ledger()
        options = {"max_drop": config.max_drop, **reading}
        groups = list(load_groups(data, limit=config.limit, ledger=ledger, **options))
        print_losses(ledger)
        judge = load_scorer(user_path(scorer)).to(models.device())
        joined = Ledger()
        with open_store(store_beside(output)) as store:
            lines = _lists(data, groups, model, judge, config, joined, store)
        written = [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]
        once(lambda: files.write_text(output, "".join(written)))
    return joined


def _lists(
    data: str | Path,
    groups: Sequence[Group],
    model: str | Path,
    judge: Scorer,
    config: AugmentConfig,
    ledger: Ledger,
    store: Store,
) -> list[dict[str, Any]]:
    """Draw, join with the data's responses, score, and return a line for each group."""
    drawn = drawn_by(model, groups, config.draw, config.sampling, config.max_prompt, store)
    if isinstance(config.draw, Rejection):
        drawn = _accepted(groups, drawn, judge, config.draw, config.sampling.seed, store)
    lists = []
    origins = []
    for group, samples in zip(groups, drawn, strict=True):
        origin_of = _joined(group, samples, config, ledger)
        if origin_of:
            lists.append(group.with_responses(list(origin_of)))
            origins.append(list(origin_of.values()))
    ledger.enforce(config.max_drop)
    if not lists:
        raise UserError(
            f"{data}: no prompt is left with two different responses; draw more, or set own=true"
        )
    ranked = scores(judge, lists, store=store, progress="scoring")
    return list(map(_line, lists, origins, ranked))


def augment_stage(
    data: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: Path,
    overrides: Sequence[str] = (),
    **reading: Any,
) -> Ledger:
    """Run `augment` with options of `AugmentConfig` as `key=value`."""
    config = load_recipe({}, overrides, AugmentConfig)
    return augment(data, model, scorer, output, config, **reading)


def drawn_by(
    model: str | Path,
    groups: Sequence[Group],
    draw: Draw,
    sampling: SamplingConfig,
    max_prompt: int | None,
    store: Store,
) -> list[list[Sample]]:
    """Draw responses of a policy, by its name or folder, to the prompts of groups.

    What is stored is not drawn again.
    """
    engine = read_here(model, sampling.engine, max_prompt=max_prompt)
    engine.encoder.require(groups)
    return several(engine, [group.prompt for group in groups], draw, sampling, store=store)


def _accepted(
    groups: Sequence[Group],
    drawn: Sequence[Sequence[Sample]],
    judge: Scorer,
    draw: Rejection,
    seed: int,
    store: Store,
) -> list[list[Sample]]:
    """Return, of each group's different candidates, those that rejection sampling takes."""
    candidates = []
    asked = []
    for group, samples in zip(groups, drawn, strict=True):
        different = {sample.text: sample for sample in samples if sample.text.strip()}
        candidates.append(list(different.values()))
        # A group of none is scored by an empty text, which is not taken.
        asked.append(group.with_responses(list(different) or [""]))
    rewards = scores(judge, asked, store=store, progress="candidates")
    accepted = []
    for place, (samples, reward) in enumerate(zip(candidates, rewards, strict=True)):
        k = min(draw.k, len(samples))
        taken = accept(reward[: len(samples)], k, beta=draw.beta, seed=seed + place)
        accepted.append([samples[i] for i in taken])
    return accepted


def _joined(
    group: Group, drawn: Sequence[Sample], config: AugmentConfig, ledger: Ledger
) -> dict[str, str]:
    """Return the different, non-empty responses of a group, each with its origin.

    Where there is only one the group is dropped, and counted, and nothing is returned.
    """
    texts = []
    if config.own:
        texts += [(text, "data") for text in group.responses]
    texts += [(sample.text, "policy") for sample in drawn]
    origins: dict[str, str] = {}
    empty = 0
    for text, origin in texts:
        if text.strip():
            origins.setdefault(text.strip(), origin)
        else:
            empty += 1
    if len(origins) < 2:
        detail = f"{len(origins)} of {len(texts)} are different"
        ledger.drop(Reason.SINGLE_RESPONSE, group, detail)
        return {}
    if empty:
        detail = f"{empty} of {len(texts)} left out"
        ledger.change(Reason.EMPTY_RESPONSE, group, detail)
    repeats = len(texts) - empty - len(origins)
    if repeats:
        detail = f"{repeats} of {len(texts)} left out"
        ledger.change(Reason.IDENTICAL_RESPONSES, group, detail)
    ledger.keep()
    return origins


def _line(group: Group, origins: Sequence[str], scores: Array) -> dict[str, Any]:
    """Return a list as it is written, best first."""
    order = np.argsort(-scores, kind="stable").tolist()
    return {
        "id": group.id,
        "prompt": plain_prompt(group.prompt),
        "responses": [group.responses[i] for i in order],
        "scores": [float(scores[i]) for i in order],
        "origins": [origins[i] for i in order],
    }
