"""All ways of the online benchmark make the same update, of a tiny model; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from online_examples import llama
from transformers import PreTrainedTokenizerFast

from benchmarks.online import SameGradients, Turn, comparisons, require_same_losses, turns_of
from benchmarks.rollouts import SAMPLES, Lengths, make_rollouts, samples_of, with_logps
from benchmarks.updates import BATCH, WAYS, Update, updaters
from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.trees import group_tree


@pytest.mark.parametrize("lengths", [None, 5], ids=["spread", "equal"])
def test_every_way_has_the_same_loss_and_gradient(
    lengths: Lengths, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = llama(tiny_tokenizer)
    objective, ways = updaters(model, tiny_tokenizer, "fp32", str(tmp_path), trl=True)
    assert set(ways) == set(WAYS)
    made = make_rollouts(2 * BATCH // SAMPLES, lengths, objective.encoder)
    rollouts = with_logps(objective, made)
    look = SameGradients(1e-5)
    before = [p.detach().clone() for p in model.parameters()]
    updates = []
    for updater in ways.values():
        updates.append(updater.step(rollouts, look))
    require_same_losses(updates, 1e-6)
    assert max(p.abs().max() for p in look.first) > 1e-3
    for weights, p in zip(before, model.parameters(), strict=True):
        assert torch.equal(weights, p)
    # Each prompt once; every row once, and padding.
    trees, *padded = [update.tokens for update in updates]
    assert trees == sum(len(rollout.tree) for rollout in rollouts)
    samples = samples_of(rollouts)
    plain = sum(len(sample.prompt) + len(sample.response) for sample in samples)
    assert trees < plain < min(padded)
    # TRL pads prompts to the longest of all, and so responses.
    longest = [max(len(getattr(s, part)) for s in samples) for part in ("prompt", "response")]
    assert padded[-1] == 2 * BATCH * sum(longest)


def test_ways_that_differ_are_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    objective, ways = updaters(llama(tiny_tokenizer), tiny_tokenizer, "fp32", "", trl=False)
    rollouts = with_logps(objective, make_rollouts(2, 5, objective.encoder))
    look = SameGradients(0.01)
    first = ways["trees"].step(rollouts, look)
    # Half of the data has another gradient, and another loss.
    with pytest.raises(RuntimeError, match="of their size apart"):
        ways["plain"].step(rollouts[:1], look)
    objective.module.zero_grad()
    other = ways["plain"].step(rollouts[:1])
    with pytest.raises(RuntimeError, match="different losses"):
        require_same_losses([first, other], abs(first.loss - other.loss) / 2)


def test_samples_are_the_rows_of_rollouts() -> None:
    rollout = Rollout(
        "a",
        group_tree([1, 2], [[3], [4, 5]]),
        ended=(True, True),
        logps=(-1.0, -2.0, -3.0),
        trained=(True, True),
        advantages=(0.5, -0.5, -0.5),
    )
    first, second = samples_of([rollout])
    assert (first.prompt, first.response, first.logps, first.advantage) == (
        (1, 2),
        (3,),
        (-1,),
        0.5,
    )
    assert (second.response, second.logps, second.advantage) == ((4, 5), (-2, -3), -0.5)


def test_rates_are_of_the_responses_that_an_update_trains_on() -> None:
    # 32 responses in 4 s and in 16 s.
    def update(seconds: float) -> Update:
        return Update(seconds, tokens=1000, responses=32, response_tokens=640, loss=0.0)

    outcomes = {"hh": {"trees": [update(4)], "plain": [update(16)]}}
    (line,) = comparisons("bf16", outcomes)
    assert line.line() == "bench online-bf16-hh-plain ours=8 peer=2 ratio=4 unit=responses/s"


def test_what_the_loop_does_not_name_is_the_update() -> None:
    parts = [(4.0, 2.0, 1.0, 10.0, 100), (4.0, 1.0, 1.0, 18.0, 180)]
    curve = []
    for sampling, reading, scoring, seconds, tokens in parts:
        curve.append(
            {
                "time/sampling": sampling,
                "time/reading": reading,
                "time/scoring": scoring,
                "seconds": seconds,
                "tokens": tokens,
                "completions/mean_length": 2.5,
            }
        )
    first, second = turns_of(curve, responses=8)
    # 10 − (4 + 2 + 1) = 3 s, then 18 − 10 − (4 + 1 + 1) = 2 s; 8 · 2.5 = 20 tokens are drawn.
    assert first.seconds["updating"] == 3
    assert second.seconds["updating"] == 2
    assert second == Turn(second.seconds, sampled=20, read=80)
    assert second.shares == {"sampling": 0.5, "reading": 0.125, "scoring": 0.125, "updating": 0.25}
    assert second.rates == {"sampling": 5, "reading": 80, "scoring": 80, "updating": 40}
