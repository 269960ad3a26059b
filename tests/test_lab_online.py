"""The laboratory with a transformer: what it measures, how it learns, how it goes on."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.cli import main
from rewarddiff.lab.online import OnlineLabConfig, lab_online, read_results
from rewarddiff.lab.online.bench import Bench, accuracy, bench, correlation
from rewarddiff.lab.online.config import WAYS, LearnConfig
from rewarddiff.lab.online.learned import RewardModelConfig
from rewarddiff.lab.online.measuring import Measure, curve
from rewarddiff.lab.online.pairs import labelled, pairs
from rewarddiff.lab.online.policy import PretrainConfig, encoder, untrained
from rewarddiff.lab.online.rewards import NoiseConfig, Reader
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.online.ways import trained
from rewarddiff.lab.online.world import LanguageConfig, World

SHORT = PretrainConfig(texts=640)
"""Ten steps: enough to have learned that there are words."""
QUICK = OnlineLabConfig(
    seeds=2,
    ways=("ppo", "rloo"),
    pretrain=SHORT,
    learn=LearnConfig(turns=1, batch_size=4, num_mini_batches=2, num_iterations=1),
    language=LanguageConfig(held_out=12),
    best_of=(1, 2),
    draws=2,
    points=2,
    processes=1,
)
AS_OVERRIDES = (
    *("seeds=2", "ways=[ppo, rloo]", "best_of=[1, 2]", "draws=2", "points=2", "processes=1"),
    *("pretrain.texts=640", "language.held_out=12", "learn.turns=1", "learn.batch_size=4"),
    *("learn.num_mini_batches=2", "learn.num_iterations=1"),
)
"""The same on the command line."""


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The world of one seed with true rewards, and half as much again to learn from."""
    config = OnlineLabConfig(
        noise=0.0, language=LanguageConfig(held_out=96), learn=LearnConfig(turns=36)
    )
    return bench(config, 0, tmp_path_factory.mktemp("world"))


# -- what is measured ---------------------------------------------------------------------------


def test_ppo_comes_to_nine_tenths_of_the_best_attainable_reward(learned: Bench) -> None:
    """It starts at about a half; with `learn.turns=48` five of five do."""
    training = trained("ppo", learned)
    start, end = training.curve[0], training.end
    assert start.gold < 0.65
    assert end.gold >= 0.9
    assert end.hard - start.hard > 0.4
    assert end.samples == learned.config.learn.samples
    assert 0 < end.kl < 10


def test_the_start_speaks_the_language(learned: Bench) -> None:
    """16 draws to 96 prompts: a standard error of 0.013, and a transformer of 12 seconds."""
    said = [learned.world.success(asked) for asked in learned.world.held_out]
    draws = learned.measure.responses(learned.start, 16)
    assert draws.gold.mean() == pytest.approx(np.mean(said), abs=0.08)
    assert np.corrcoef(draws.gold.mean(1), said)[0, 1] > 0.8
    point = learned.measure.start_point
    assert point.easy > point.gold > point.hard
    assert point.kl == 0


def test_kl_is_what_log_ratios_of_the_drawn_tokens_come_to(learned: Bench) -> None:
    """Σ_t KL at the states has the mean of log π(y)/ρ(y), read by transformers alone."""
    other = copy.deepcopy(learned.start)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    draws = 8
    measure = learned.measure
    kl = measure.responses(other, draws).kl
    ratios = []
    for number, response in enumerate(measure._drawn(other, draws)):
        prompt = measure.prompts[number // draws]
        ids = torch.tensor([[*prompt, *response]])
        labels = torch.tensor([[-100] * len(prompt) + list(response)])
        with torch.no_grad():
            losses = [model(ids, labels=labels).loss for model in (learned.start, other)]
        ratios.append(float(losses[0] - losses[1]) * len(response))
    error = float(np.std(np.array(ratios) - kl.ravel())) / math.sqrt(len(ratios))
    assert kl.mean() > 0.05
    assert np.mean(ratios) == pytest.approx(kl.mean(), abs=4 * error)


def test_measuring_takes_nothing_from_a_policy_and_is_repeated_to_the_bit(learned: Bench) -> None:
    before = copy.deepcopy(learned.start.state_dict())
    first = learned.measure.point(learned.start, 7, 1)
    assert first == learned.measure.point(learned.start, 7, 1)
    after = learned.start.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_curve_is_measured_after_the_steps_of_any_optimizer() -> None:
    reads = encoder()
    world = World(LanguageConfig(held_out=3), 0)
    model = untrained(SHORT, reads, 0)
    measure = Measure(world, Reader(NoiseConfig(0.0, 0.0), 0), reads, model, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    samples = [10, 10, 20, 20, 30]
    with curve(measure, model, samples, points=2) as points:
        for _ in samples:
            optimizer.step()
    optimizer.step()  # after it nothing is measured
    assert [point.samples for point in points] == [0, 10, 30]


def test_correlation_is_that_of_all_ordered_pairs_of_draws() -> None:
    rewards = np.random.default_rng(0).random((5, 3)) + np.arange(5)[:, None]
    first, second = [], []
    for row in rewards:
        for i in range(3):
            for j in range(3):
                if i != j:
                    first.append(row[i])
                    second.append(row[j])
    assert correlation(rewards) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert math.isnan(correlation(np.ones((4, 2))))


def test_accuracy_is_of_pairs_with_one_success_and_counts_ties_half() -> None:
    """By hand: of the first prompt a pair that is right and one that is tied, 1.5 of 2."""
    rewards = np.array([[0.5, 0.1, 0.5], [1.0, 2.0, 3.0]])
    golds = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert accuracy(rewards, golds) == 0.75
    golds[1] = [1.0, 1.0, 1.0]
    assert accuracy(rewards, golds) == 0.75
    golds[1] = [0.0, 0.0, 1.0]
    rewards[1] = [3.0, 4.0, 1.0]
    assert accuracy(rewards, golds) == 1.5 / 4
    assert math.isnan(accuracy(rewards, np.ones((2, 3))))


def test_a_reward_model_tells_successes_from_failures_and_is_read_back(
    tmp_path: Path,
) -> None:
    """Of true comparisons, and few of them; the start has read half of what it reads else."""
    config = replace(
        QUICK,
        noise=0.0,
        reward="learned",
        seeds=1,
        ways=("ppo",),
        model=RewardModelConfig(responses=4, epochs=2.0),
        pretrain=PretrainConfig(texts=6400),
        best_of=(1, 8),
    )
    results = lab_online(tmp_path, config)
    (start,) = results.starts
    assert start.accuracy > 0.65
    assert math.isnan(start.misread)
    (folder,) = tmp_path.glob("parts-*")
    first, again = bench(config, 0, folder), bench(config, 0, folder)
    groups = first.answered(first.prompts()[:5], 3, "here")
    assert first.reader.scores(groups) == again.reader.scores(groups)
    page = (tmp_path / "lab-online.md").read_text()
    assert "what is learned from is a reward model, trained on comparisons" in page


def test_intervals_over_seeds_are_no_narrower_than_students() -> None:
    """t of 0.975 with 3 degrees of freedom is 3.182; s of 1, 2, 3, 4 is 1.291."""
    interval = over_seeds([1.0, 2.0, math.nan, 3.0, 4.0])
    assert (interval.value, interval.n) == (2.5, 4)
    assert interval.high - 2.5 == pytest.approx(3.182 * 1.291 / 2, rel=1e-3)


# -- ways ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench(QUICK, 0, tmp_path_factory.mktemp("noisy"))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_learns_from_as_many_samples(noisy: Bench, way: str) -> None:
    training = trained(way, noisy)  # type: ignore[arg-type]
    assert training.end.samples == 1 * 4 * 2 * 4
    assert training.end.kl > 0
    assert training.curve[0] == noisy.measure.start_point


def test_pairs_are_ordered_by_the_misread_reward_and_weighed_by_a_second_reader(
    noisy: Bench,
) -> None:
    groups, reader = labelled(noisy), noisy.reader
    assert groups
    assert isinstance(reader, Reader)
    for group in groups:
        (rewards,) = reader.scores([group])
        for comparison in group.comparisons:
            assert (rewards[comparison.chosen], rewards[comparison.rejected]) == (1.0, 0.0)
    weighted = {item.id: item for item in pairs(noisy, weighted=True)}
    for group in groups:
        prompt, item = str(group.prompt), weighted.get(group.id)
        agreed = []
        for comparison in group.comparisons:
            texts = [group.responses[i] for i in (comparison.chosen, comparison.rejected)]
            agreed.append(float(reader.difference(prompt, *texts) > 0))
        if item is not None:
            assert list(item.coefficients) == agreed


def test_a_larger_baseline_begins_with_a_smaller_one(noisy: Bench) -> None:
    one, three = noisy.prompts(1), noisy.prompts(3)
    assert [group.responses for group in one] == [group.responses[:1] for group in three]
    assert {len(group.responses) for group in three} == {3}


# -- a whole run --------------------------------------------------------------------------------


def test_a_run_is_a_file_that_is_read_back_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = lab_online(tmp_path, QUICK)
    assert read_results(tmp_path / "lab-online.json") == results
    assert [way.way for way in results.ways] == ["ppo", "rloo"]
    assert results.ways[0].gap.value == 0
    _, rloo = results.ways
    gaps = []
    for seed in (0, 1):
        golds = {one.way: one.end.gold for one in results.trained if one.seed == seed}
        gaps.append(golds["rloo"] - golds["ppo"])
    assert rloo.gap.value == pytest.approx(np.mean(gaps))
    assert results.best == 1.0

    # What is there is not done again: a mark in a part comes back, and only GRPO is trained.
    (part,) = tmp_path.glob("parts-*/ppo-0.json")
    marked = json.loads(part.read_text())
    marked["seconds"] = 12345.0
    part.write_text(json.dumps(marked))
    further = OnlineLabConfig(**{**vars(QUICK), "ways": ("ppo", "grpo"), "seeds": 2})
    again = lab_online(tmp_path, further)
    assert [one.seconds for one in again.trained if (one.way, one.seed) == ("ppo", 0)] == [12345.0]
    assert len(list(tmp_path.glob("parts-*"))) == 1
    assert again.starts == results.starts

    # The command line goes on likewise, and says what each way has come to.
    assert main(["lab", "online", "--output", str(tmp_path), *AS_OVERRIDES]) == 0
    output = capsys.readouterr().out
    assert "2 worlds, 32 samples each" in output
    assert f"RLOO: {rloo.gold.value:.3f} at {rloo.kl.value:.2f} nats" in output
    assert read_results(tmp_path / "lab-online.json").trained[0].seconds == 12345.0

    # Another noise is another world of rewards: nothing of the first is taken.
    other = OnlineLabConfig(**{**vars(QUICK), "noise": 0.1, "ways": ("ppo",), "seeds": 1})
    assert lab_online(tmp_path, other).trained[0].seconds != 12345.0
    assert len(list(tmp_path.glob("parts-*"))) == 2


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    config = {**vars(QUICK), "ways": ("ppo",)}
    alone = lab_online(tmp_path / "1", OnlineLabConfig(**config))
    beside = lab_online(tmp_path / "2", OnlineLabConfig(**{**config, "processes": 2}))
    assert [one.curve for one in alone.trained] == [one.curve for one in beside.trained]


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["onlin"], "there is no 'onlin'"),
        (["online", "noise=1.5"], "noise is 1.5, should be from 0 to 1"),
        (["online", "ways=[ppoo]"], "ppo"),
        (["online", "ways=[]"], "name at least one"),
        (["online", "ways=[ppo, ppo]"], "name each once"),
        (["online", "learn.lrr=1"], "lr"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["lab", *arguments, "--output", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert cause in message
    assert len(message.strip().splitlines()) == 1
