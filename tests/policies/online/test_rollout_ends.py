"""Where a sampled response ends: at its end token, at a stop text, or at the limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from online_examples import PROMPTS, learn, letters, llama, reader, short, weights_of
from transformers import PreTrainedTokenizerFast

from rewarddiff.data.ledger import Ledger
from rewarddiff.policies.online.rollouts import Rollout, draw, online_prompts, with_texts
from rewarddiff.records import Group

LONG = 24


def drawn(
    tokenizer: PreTrainedTokenizerFast, stop: Sequence[str] = (), *, ends_often: float = 0.0
) -> list[Rollout]:
    """Return rollouts of all prompts; other stops change nothing that was drawn before them."""
    model = llama(tokenizer, ends_often=ends_often)
    encoder = reader(tokenizer, LONG)
    prompts = online_prompts(PROMPTS, encoder, LONG, Ledger())
    config = short(max_new_tokens=LONG, stop=tuple(stop))
    with torch.no_grad():
        return draw(model, encoder, prompts, config, seed=0, turn=0)


def responses(rollouts: Sequence[Rollout]) -> list[tuple[int, ...]]:
    return [tokens for rollout in rollouts for tokens in rollout.responses]


def test_a_stop_text_ends_a_response_where_it_is_complete(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    whole = drawn(tiny_tokenizer)
    # Two characters of a response are a stop; one token is a byte, so they are two tokens.
    text = tiny_tokenizer.decode(whole[2].responses[1])
    place = next(i for i in range(3, len(text) - 1) if text[i : i + 2].isascii())
    stop = (text[place : place + 2], "e")
    stopped = drawn(tiny_tokenizer, stop)
    cut = 0
    for before, after in zip(whole, stopped, strict=True):
        for full, tokens, ended in zip(before.responses, after.responses, after.ended, strict=True):
            # By hand: the fewest tokens that hold a stop.
            lengths = [
                n for n in range(1, len(full) + 1)
                if any(word in tiny_tokenizer.decode(full[:n]) for word in stop)
            ]  # fmt: skip
            assert tokens == full[: min(lengths, default=len(full))]
            assert ended == (bool(lengths) or full[-1] == tiny_tokenizer.eos_token_id)
            cut += bool(lengths)
    assert 1 < cut < 24
    # What is scored has no stop in it, and what was not cut is as it was drawn.
    encoder = reader(tiny_tokenizer, LONG)
    prompts = online_prompts(PROMPTS, encoder, LONG, Ledger())
    for prompt, rollout in zip(prompts, stopped, strict=True):
        group = with_texts(encoder, prompt, rollout, stop)
        for scored, tokens in zip(group.responses, rollout.responses, strict=True):
            read = encoder.text(tokens)
            assert not any(word in scored for word in stop)
            assert read.startswith(scored)
            assert (scored == read) == (not any(word in read for word in stop))


def test_a_stop_text_in_the_prompt_ends_nothing(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    # The prompts are "Prompt 0:", …: a stop may stand in them, or begin in them.
    whole = drawn(tiny_tokenizer)
    first = tiny_tokenizer.decode(whole[0].responses[0])[0]
    assert responses(drawn(tiny_tokenizer, ("Prompt", f"0:{first}"))) == responses(whole)


def test_an_end_token_ends_before_a_stop_text_can(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    whole = drawn(tiny_tokenizer, ends_often=4.5)
    stopped = drawn(tiny_tokenizer, ("<pad>", "a", "b"), ends_often=4.5)
    end = tiny_tokenizer.eos_token_id
    assert sum(tokens[-1] == end for tokens in responses(stopped)) > 4
    for full, tokens in zip(responses(whole), responses(stopped), strict=True):
        assert full[: len(tokens)] == tokens  # no pad behind an end is taken for a stop


def test_stops_are_learned_from(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    seen: list[str] = []

    def watched(groups: Sequence[Group]) -> list[list[float]]:
        seen.extend(response for group in groups for response in group.responses)
        return letters(groups)

    config = short(max_new_tokens=LONG, stop=("a", "e", "i", "o", "u"))
    model, result = learn(tiny_tokenizer, tmp_path, config, reward=watched)
    assert not any(vowel in response for response in seen for vowel in "aeiou")
    assert result.curve[0]["completions/clipped_ratio"] < 1
    assert all(weight.isfinite().all() for weight in weights_of(model).values())
