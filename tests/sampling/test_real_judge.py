"""A language model behind `transformers serve`, as policy and as judge of one `rewarddiff judge`.

Its text is known by hand: whatever it is asked, it says "Verdict: 3".
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers_server import transformers_serve

from rewarddiff.cli import main
from rewarddiff.records import Group
from rewarddiff.results import read_results
from rewarddiff.scorers.opening import open_judge
from rewarddiff.store import Store

pytestmark = pytest.mark.slow

SAYS = "Verdict: 3"


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A Llama in which a token decides the next: behind <|assistant|> comes V, then e, … 3, <eos>.

    Attention and MLP write nothing and embeddings are unit vectors, so the last token alone counts, by
    the weights of the head.
    """
    place = tmp_path_factory.mktemp("models") / "verdicts"
    vocabulary = len(tiny_tokenizer)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=264, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8192, tie_word_embeddings=False,
        eos_token_id=tiny_tokenizer.eos_token_id, pad_token_id=tiny_tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    role = tiny_tokenizer.convert_tokens_to_ids("<|assistant|>")
    chain = [role, *tiny_tokenizer(SAYS).input_ids, tiny_tokenizer.eos_token_id]
    assert len(set(chain)) == len(chain)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(vocabulary, 264))
        head = model.lm_head.weight.zero_()
        for now, following in pairwise(chain):
            head[following, now] = 1.0
    model.save_pretrained(place)
    copy.deepcopy(tiny_tokenizer).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    with transformers_serve(folder, folder.parent / "log") as url:
        yield f"{folder}@{url}"


def test_it_judges_as_when_it_is_read_here(served: str, folder: Path, tmp_path: Path) -> None:
    """It favours what it reads first, by 3 − 4 grades from a tie: every verdict turns, d is 0."""
    groups = [Group(f"{i}", f"Question {i}", ("one", "two")) for i in range(4)]
    pairs = [[(0, 1)]] * 4
    options = ["form=grades", "max_tokens=16"]
    there = open_judge(served, options)
    with Store(tmp_path / "store.sqlite") as store:
        verdicts = there.verdicts(groups, pairs, store=store)
        calls = there.usage.calls
        assert calls == 8
        again = open_judge(served, options)
        assert [v.forward.tolist() for v in again.verdicts(groups, pairs, store=store)] == [
            [1.0]
        ] * 4
        assert again.usage.calls == 0
    here = open_judge(str(folder), options).verdicts(groups, pairs)
    for ours, theirs in zip(here, verdicts, strict=True):
        np.testing.assert_array_equal(ours.forward, theirs.forward)
        np.testing.assert_array_equal(ours.backward, theirs.backward)
        assert theirs.forward.tolist() == theirs.backward.tolist() == [1.0]
        assert theirs.turned.tolist() == [True]
        assert theirs.values.tolist() == [0.0]


def test_policy_and_judge_of_one_command(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Question {i}", "response": f"answer {i}"} for i in range(3)]
    (tmp_path / "theirs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = [
        "judge", served, "theirs.jsonl", "--judge", served, "--output", "out",
        "form=grades", "max_tokens=16", "sampling.max_new_tokens=16", "canaries=0",
    ]  # fmt: skip
    assert main(command) == 0
    results = read_results(tmp_path / "out")
    (rate,) = results.judges.win_rates
    assert rate.n == 3
    assert {sample.responses[rate.a] for sample in results.samples} == {SAYS}
    # A judge of the first place alone gives either side half, and turns with every order.
    assert (rate.rate.value, rate.turned.value, rate.first) == (0.5, 1.0, 1.0)
