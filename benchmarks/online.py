"""Online training: an update in trees beside padded rows, and where the time of a turn goes.

Updates (`benchmarks.updates`): one optimizer step on the same rollouts in every way, in turns; prompts
of HH's lengths with four samples each, which are of HH's lengths or all of one. Every way has to
have the same loss and the same gradient.

Turns: `train_online` as anyone calls it, PPO with a value head and a KL to the reference, rewarded
by a reward model of the same size, from which the loop's own clock tells what is spent in
sampling, reading (policy, value head and reference), scoring and updating.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import rows
from benchmarks.contest import Comparison, Precision, compare, say
from benchmarks.rollouts import SAMPLES, Lengths, make_rollouts, with_logps
from benchmarks.updates import Update, Updater, Way, autocast, updaters
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.models import load_causal_lm
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.policies.online.train import train_online
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig

PROMPTS = 8
FEW = 2
CASES: Mapping[str, Lengths] = {"hh": None, "32": 32, "64": 64, "128": 128}
"""Tokens of the responses; None: spread as HH's."""
CASES_OF: Mapping[Precision, Sequence[str]] = {"bf16": list(CASES), "fp32": ["hh"]}
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.2}
"""How far apart two ways' gradients may be, of their size, and losses, in units of an advantage.

A number in bfloat16 has eight bits, and drawn advantages let most of a gradient cancel."""
NEW_TOKENS = 64
"""A sample is cut there."""
TURNS = 3
"""The first of which warms up."""

Updates = dict[Way, list[Update]]


class SameGradients:
    """Looks at the gradients of all ways: the first one's is what others are compared with.

    Attributes:
        gap: of the last one looked at, of the first one's size.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.first: list[Tensor] = []
        self.gap = 0.0

    def __call__(self, updater: Updater) -> None:
        """Look at one.

        Raises:
            RuntimeError: it differs.
        """
        gradient = updater.gradient()
        if not self.first:
            self.first = gradient
            return
        differences = [a - b for a, b in zip(self.first, gradient, strict=True)]
        norm = torch.nn.utils.get_total_norm
        self.gap = (norm(differences) / norm(self.first)).item()
        if not self.gap <= self.tolerance:
            raise RuntimeError(f"gradients of two ways are {self.gap:.1e} of their size apart")


def require_same_losses(updates: Sequence[Update], tolerance: float) -> None:
    """Refuse updates that do not have the same loss.

    Raises:
        RuntimeError: losses differ by more than `tolerance`, in units of an advantage.
    """
    losses = [update.loss for update in updates]
    if not max(losses) - min(losses) <= tolerance:
        raise RuntimeError(f"ways have different losses: {losses}")


def is_main(precision: Precision, case: str) -> bool:
    """Whether all ways take part, in every round; in other cases trees and plain rows, once.

    It is HH's lengths, in the default precision of this project and of TRL.
    """
    return (precision, case) == ("bf16", "hh")


def contend(folder: str, precision: Precision, *, rounds: int, prompts: int) -> dict[str, Updates]:
    """Make the same updates in every way once a round, after one on few rollouts that warms up."""
    model, tokenizer = load_causal_lm(folder)
    outcomes: dict[str, Updates] = {}
    with tempfile.TemporaryDirectory() as place:
        trl = is_main(precision, "hh")
        objective, ways = updaters(model, tokenizer, precision, place, trl=trl)
        few = ready(objective, FEW, None)
        for updater in ways.values():
            updater.step(few)
        for case in CASES_OF[precision]:
            rollouts = ready(objective, prompts, CASES[case])
            entered, last = ways, rounds
            if not is_main(precision, case):
                entered, last = {"trees": ways["trees"], "plain": ways["plain"]}, 1
            outcomes[case] = {way: [] for way in entered}
            for turn in range(1, last + 1):
                title = f"online {precision} {case} round {turn}/{last}"
                for way, update in once_each(entered, rollouts, TOLERANCE[precision], title):
                    outcomes[case][way].append(update)
    return outcomes


def ready(objective: Online, prompts: int, lengths: Lengths) -> list[Rollout]:
    """Return rollouts to train on, with log-probabilities in the precision of training."""
    made = make_rollouts(prompts, lengths, objective.encoder)
    with autocast(objective.options.train.precision):
        return with_logps(objective, made)


def once_each(
    ways: Mapping[Way, Updater], rollouts: Sequence[Rollout], tolerance: float, title: str
) -> list[tuple[Way, Update]]:
    """Make the same update in every way, and compare losses and gradients."""
    look = SameGradients(tolerance)
    updates = []
    for way, updater in ways.items():
        update = updater.step(rollouts, look)
        updates.append((way, update))
        say(f"{title} {way}: {update}, gradient {look.gap:.0e} from that of trees")
    require_same_losses([update for _, update in updates], tolerance)
    return updates


def comparisons(precision: Precision, outcomes: Mapping[str, Updates]) -> list[Comparison]:
    """Compare trees with every other way."""
    figures = []
    for case, ways in outcomes.items():
        rates = {way: [update.rate for update in updates] for way, updates in ways.items()}
        ours = rates.pop("trees")
        for way, theirs in rates.items():
            figures.append(compare(f"online-{precision}-{case}-{way}", "responses/s", ours, theirs))
    return figures


# -- a turn ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One turn of online training.

    Attributes:
        seconds: of each part: sampling, reading, scoring, updating.
        sampled: tokens of responses.
        read: tokens of all trees, each prompt once.
    """

    seconds: dict[str, float]
    sampled: int
    read: int

    @property
    def shares(self) -> dict[str, float]:
        """The share of the time in each part."""
        whole = sum(self.seconds.values())
        return {part: seconds / whole for part, seconds in self.seconds.items()}

    @property
    def rates(self) -> dict[str, float]:
        """Tokens a second: those drawn in sampling, else those of the trees."""
        tokens = dict.fromkeys(self.seconds, self.read) | {"sampling": self.sampled}
        return {part: tokens[part] / seconds for part, seconds in self.seconds.items()}


def turns_of(curve: Sequence[Mapping[str, Any]], responses: int) -> list[Turn]:
    """Return the turns of a training of one optimizer step a turn, from its lines of metrics."""
    turns = []
    seconds, tokens = 0.0, 0
    for line in curve:
        parts = {name: line[f"time/{name}"] for name in ("sampling", "reading", "scoring")}
        parts["updating"] = line["seconds"] - seconds - sum(parts.values())
        sampled = round(line["completions/mean_length"] * responses)
        turns.append(Turn(parts, sampled, line["tokens"] - tokens))
        seconds, tokens = line["seconds"], line["tokens"]
    return turns


def train(folder: str, precision: Precision, *, prompts: int, new_tokens: int) -> list[Turn]:
    """Train for a few turns; return those after the first one."""
    model, tokenizer = load_causal_lm(folder)
    scorer: Any = new_scorer(ScorerConfig(kind="reward", backbone=folder), seed=0)
    scorer.precision = precision
    rng = random.Random(0)
    sizes = rows.lengths(rows.PROMPT_TOKENS, prompts * TURNS, rng)
    groups = [Group(str(i), rows.question(size, rng), ()) for i, size in enumerate(sizes)]
    settings = TrainConfig(precision=precision, batch_size=prompts, save_every=0, eval_every=None)
    config = OnlineConfig(num_generations=SAMPLES, max_new_tokens=new_tokens, train=settings)
    encoder = Encoder(tokenizer, LengthConfig(max_prompt=None, max_response=new_tokens))
    with tempfile.TemporaryDirectory() as output:
        result = train_online(
            model,
            groups,
            RewardFunctions(scorer.rewards),
            config,
            encoder=encoder,
            output=Path(output),
            name="online turns",
        )
    return turns_of(result.curve, prompts * SAMPLES)[1:]


def lines(precision: Precision, turns: Sequence[Turn]) -> list[str]:
    """Say what share of the time each part takes, and its speed; medians over turns."""
    written = []
    for part in turns[0].seconds:
        share = median(turn.shares[part] for turn in turns)
        rate = median(turn.rates[part] for turn in turns)
        seconds = median(turn.seconds[part] for turn in turns)
        written.append(
            f"online turn, {precision}, {part}: {share:.1%} of the time, {seconds:.2f} s, "
            f"{rate:,.0f} tokens/s"
        )
    return written
