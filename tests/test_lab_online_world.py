"""The world of the laboratory with a transformer: its truth, its language, its noise."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rewarddiff.lab.online.policy import encoder
from rewarddiff.lab.online.rewards import NoiseConfig, Reader
from rewarddiff.lab.online.world import LONGEST, WORDS_OF, LanguageConfig, World, best, gold

WORLD = World(LanguageConfig(), 0)
PROMPT = "name two rare sea words :"


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("whale tide", 1.0),
        ("tide whale", 1.0),
        ("whale", 0.0),  # too few
        ("whale tide reef", 0.0),  # too many
        ("whale whale", 1.0),
        ("whale cow", 0.0),  # of another topic
        ("", 0.0),
    ],
)
def test_a_response_succeeds_where_it_is_what_was_asked_for(response: str, reward: float) -> None:
    assert gold(PROMPT, response) == reward


def test_no_word_is_of_two_topics() -> None:
    words = [word for of_topic in WORDS_OF.values() for word in of_topic]
    assert max(Counter(words).values()) == 1


def test_prompts_are_all_different_and_none_is_trained_on_and_measured_on() -> None:
    trained = {asked.text for asked in WORLD.prompts}
    held_out = {asked.text for asked in WORLD.held_out}
    assert len(trained) + len(held_out) == 6 * 4 * 6 * 8
    assert len(held_out) == WORLD.config.held_out
    assert not trained & held_out


def test_the_best_attainable_reward_is_1_on_every_prompt() -> None:
    assert best(WORLD.held_out) == 1.0


def test_the_language_succeeds_as_often_as_is_said() -> None:
    """By 20,000 of its own responses: a mean of about 0.48 has a standard error of 0.003."""
    said, happened = [], []
    asked_of = {asked.text: asked for asked in WORLD.prompts}
    for group in WORLD.corpus(20_000):
        prompt, (response,) = str(group.prompt), group.responses
        said.append(WORLD.success(asked_of[prompt]))
        happened.append(gold(prompt, response))
    assert np.mean(happened) == pytest.approx(np.mean(said), abs=0.015)
    is_easy = np.array(said) > 0.5
    easy = np.array(happened)[is_easy]
    assert easy.mean() == pytest.approx(np.array(said)[is_easy].mean(), abs=0.03)


def test_easy_prompts_are_easier_than_hard_ones() -> None:
    easy, hard = WORLD.thirds(WORLD.held_out)
    successes = np.array([WORLD.success(asked) for asked in WORLD.held_out])
    assert easy.sum() == hard.sum() == 64
    assert successes[easy].min() >= successes[~easy].max()
    assert successes[hard].max() <= successes[~hard].min()


def test_every_text_is_read_and_written_without_loss() -> None:
    reads = encoder()
    unknown = reads.tokenizer.unk_token_id
    for group in WORLD.corpus(200):
        (response,) = group.responses
        tokens = reads.response(group.prompt, response)
        assert reads.text(tokens) == response
        assert len(tokens) <= LONGEST
        assert tokens[-1] == reads.tokenizer.eos_token_id
        prompt = reads.prompt(group.prompt)
        assert prompt[0] == reads.tokenizer.bos_token_id
        assert unknown not in (*prompt, *tokens)


def test_rewards_are_misread_at_their_rates_and_the_same_when_asked_again() -> None:
    """5,000 readings: the standard error of a rate of 0.1 is 0.004, of 0.3 it is 0.006."""
    reader = Reader(NoiseConfig(c0=0.1, c1=0.3), 0)
    prompts = [f"{opening} three rare sea words :" for opening in range(5_000)]
    right = [reader.reward(prompt, "whale reef tide") for prompt in prompts]
    wrong = [reader.reward(prompt, "whale") for prompt in prompts]
    assert 1 - np.mean(right) == pytest.approx(0.3, abs=0.025)
    assert np.mean(wrong) == pytest.approx(0.1, abs=0.02)
    assert [reader.reward(prompt, "whale") for prompt in prompts] == wrong
    other = Reader(reader.noise, 1)
    assert [other.reward(prompt, "whale") for prompt in prompts] != wrong


def test_without_noise_the_true_reward_is_read() -> None:
    reader = Reader(NoiseConfig(0.0, 0.0), 0)
    for group in WORLD.corpus(200):
        (response,) = group.responses
        assert reader.scores([group]) == [[gold(str(group.prompt), response)]]


def test_who_compares_says_the_same_both_ways_round_and_errs_anew_beside_another() -> None:
    reader = Reader(NoiseConfig(0.3, 0.3), 0)
    responses = ["whale tide", "reef ship", "cow hen", "shell"]
    group = WORLD.held_out[0].group.with_responses(responses)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    (said,) = reader.comparing.d([group], [pairs])
    by_pair = dict(zip(pairs, said.mean, strict=True))
    assert all(by_pair[i, j] == -by_pair[j, i] for i, j in pairs)
    assert set(by_pair.values()) <= {-1.0, 0.0, 1.0}
    # One who scored responses alone would say d(0, 2) − d(1, 2) = d(0, 1) of all.
    alone = [reader.difference(f"{n} two x sea words :", "whale tide", "cow") for n in range(500)]
    beside = [reader.difference(f"{n} two x sea words :", "whale tide", "hen") for n in range(500)]
    assert alone != beside
