"""More responses to rank: those of the data and those a policy writes, scored, best first, as lists
for RRHF and PRO.

The defaults are how RRHF made its lists of HH (HH+): two responses of the data and four diverse
beams of the policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewarddiff import files, models
from rewarddiff.config import at_least, load_recipe
from rewarddiff.data import Ledger, Reason, load_groups
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of, print_losses
from rewarddiff.records import Group, plain_prompt
from rewarddiff.sampling import Sample, SamplingConfig
from rewarddiff.sampling.several import Beams, Draw, Rejection, accept, several
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.neural.scorer import Scorer
from rewarddiff.store import Store


@dataclass(frozen=True)
class AugmentConfig:
    """How lists are made.

    Attributes:
        draw: beams (RRHF's settings), temperature, or rejection by the scorer.
        own: keep the data's own responses among them.
        limit: at most so many groups.
        max_prompt: a longer prompt keeps its end.
        sampling: stop texts, batch size, seed.
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


def augment(
    data: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: Path,
    config: AugmentConfig | None = None,
) -> Ledger:
    """Write one JSON line per prompt: `responses` best first, their `scores`, and the `origins` of
    each.

    What was drawn and read is kept in `output` + ".store.sqlite", so that an interrupted run goes
    on.

    Raises:
        UserError: nothing to read, a model or scorer that is none, too many groups with nothing to
            rank.
    """
    config, output = config or AugmentConfig(), user_path(output)
    with file_made_of(data, output):
        ledger = Ledger()
        groups = list(
            load_groups(data, limit=config.limit, ledger=ledger, max_drop=config.max_drop)
        )
        print_losses(ledger)
        judge = load_scorer(user_path(scorer)).to(models.device())
        joined = Ledger()
        with Store(output.with_name(output.name + ".store.sqlite")) as store:
            lines = _lists(data, groups, model, judge, config, joined, store)
        files.write_text(
            output, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        )
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
        drawn = list(_accepted(groups, drawn, judge, config.draw, config.sampling.seed, store))
    lists = [
        own
        for g, new in zip(groups, drawn, strict=True)
        if (own := _joined(g, new, config, ledger))
    ]
    ledger.enforce(config.max_drop)
    if not lists:
        raise UserError(
            f"{data}: no prompt is left with two different responses; draw more, or set own=true"
        )
    scores = judge.scores([group for group, _ in lists], store=store, progress="scoring")
    return [
        _line(group, origins, own.tolist())
        for (group, origins), own in zip(lists, scores, strict=True)
    ]


def augment_stage(
    data: str | Path,
    model: str | Path,
    scorer: str | Path,
    output: Path,
    overrides: Sequence[str] = (),
) -> Ledger:
    """`augment` with options of `AugmentConfig` as `key=value`."""
    return augment(data, model, scorer, output, load_recipe({}, overrides, AugmentConfig))


def drawn_by(
    model: str | Path,
    groups: Sequence[Group],
    draw: Draw,
    sampling: SamplingConfig,
    max_prompt: int | None,
    store: Store,
) -> list[list[Sample]]:
    """Responses of a policy, by its name or folder, to the prompts of groups; what is stored is not
    drawn again."""
    policy, tokenizer = models.load_causal_lm(model)
    encoder = Encoder(
        tokenizer, LengthConfig(max_prompt=max_prompt, max_response=1), models.context_length(model)
    )
    encoder.require(groups)
    return several(
        policy.to(models.device()),  # type: ignore[arg-type]
        encoder,
        [group.prompt for group in groups],
        draw,
        sampling,
        weights=models.fingerprint(model),
        store=store,
    )


def _accepted(
    groups: Sequence[Group],
    drawn: Sequence[Sequence[Sample]],
    judge: Scorer,
    draw: Rejection,
    seed: int,
    store: Store,
) -> Iterator[list[Sample]]:
    """Of each group's different candidates, those that rejection sampling takes."""
    different: list[list[Sample]] = [
        list({s.text: s for s in own if s.text.strip()}.values()) for own in drawn
    ]
    asked = [
        g.with_responses([s.text for s in own] or [""])
        for g, own in zip(groups, different, strict=True)
    ]
    rewards = judge.scores(asked, store=store, progress="candidates")
    for place, (own, r) in enumerate(zip(different, rewards, strict=True)):
        k = min(draw.k, len(own))
        yield [own[i] for i in accept(r[: len(own)], k, beta=draw.beta, seed=seed + place)]


def _joined(
    group: Group, drawn: Sequence[Sample], config: AugmentConfig, ledger: Ledger
) -> tuple[Group, list[str]] | None:
    """The group with the different, non-empty responses of both origins; None, and counted, if
    there is only one."""
    own = list(group.responses) if config.own else []
    found: dict[str, str] = {}
    for text, origin in [*((text, "data") for text in own), *((s.text, "policy") for s in drawn)]:
        if text.strip():
            found.setdefault(text.strip(), origin)
    everything = len(own) + len(drawn)
    empty = sum(not text.strip() for text in [*own, *(s.text for s in drawn)])
    if len(found) < 2:
        ledger.drop(
            Reason.SINGLE_RESPONSE,
            group,
            f"{len(found)} of {everything} are different",
        )
        return None
    if empty:
        ledger.change(Reason.EMPTY_RESPONSE, group, f"{empty} of {everything} left out")
    if repeats := everything - empty - len(found):
        ledger.change(
            Reason.IDENTICAL_RESPONSES,
            group,
            f"{repeats} of {everything} left out",
        )
    ledger.keep()
    return group.with_responses(found), list(found.values())


def _line(group: Group, origins: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return {
        "id": group.id,
        "prompt": plain_prompt(group.prompt),
        "responses": [group.responses[i] for i in order],
        "scores": [scores[i] for i in order],
        "origins": [origins[i] for i in order],
    }
