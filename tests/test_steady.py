"""Products that do not depend on their company, at the sizes of real models, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
)

from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.steady import steady

CPU = torch.device("cpu")


def llama(vocabulary: int) -> LlamaModel:
    """Three layers of SmolLM2-135M's shape."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=3,
        num_attention_heads=9,
        num_key_value_heads=3,
    )
    return LlamaModel(config)


def bert(vocabulary: int) -> BertModel:
    """Three layers of all-MiniLM-L6-v2's shape."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=3,
        num_attention_heads=12,
    )
    return BertModel(config)


@pytest.fixture(scope="module", params=[llama, bert])
def scorer(
    request: pytest.FixtureRequest,
    policy_folder: Path,
    encoder_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> NeuralScorer:
    build: Callable[[int], PreTrainedModel] = request.param
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder if build is bert else policy_folder)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(build.__name__)
    build(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return new_scorer(ScorerConfig(kind="reward", backbone=str(folder)))


def drawn_groups() -> list[Group]:
    draw = np.random.default_rng(0)

    def text(most: int) -> str:
        return "".join(draw.choice(list("abcdefgh \n"), size=int(draw.integers(1, most))))

    groups = []
    for i in range(12):
        responses = tuple(text(250) for _ in range(int(draw.integers(1, 5))))
        groups.append(Group(str(i), text(400), responses))
    return groups


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Lets a test compute with so many threads: each has a share of a tensor."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def has_tiles() -> bool:
    """Tell a CPU with tiles, whose kernels for two threads add up by the size of a product."""
    about = Path("/proc/cpuinfo")
    return about.exists() and "amx_tile" in about.read_text()


@pytest.mark.parametrize(
    ("precision", "number"), [("fp32", 1), ("fp32", 2), ("fp32", 5), ("fp32", 7), ("bf16", 2)]
)
def test_a_reward_is_the_same_to_the_bit_alone_and_in_company(
    scorer: NeuralScorer, precision: str, number: int, threads: Callable[[int], None]
) -> None:
    if number == 2 and has_tiles():
        pytest.skip("two threads divide products otherwise on a CPU with tiles (AMX)")
    threads(number)
    scorer.precision = precision  # type: ignore[assignment]
    groups = drawn_groups()
    together = np.concatenate(scorer.rewards(groups))
    turned = np.concatenate(scorer.rewards(groups[::-1])[::-1])
    alone = []
    for group in groups:
        for response in group.responses:
            (reward,) = scorer.rewards([Group("alone", group.prompt, (response,))])
            alone.append(reward[0])
    assert len(set(together.tolist())) > 20
    np.testing.assert_array_equal(turned, together)
    np.testing.assert_array_equal(alone, together)


def test_a_product_differs_without_it() -> None:
    """The reason for the room: if no kernel did this any more, it could go."""
    torch.manual_seed(0)
    weight = torch.randn(64, 576)
    rows = torch.randn(512, 576)
    many = F.linear(rows, weight)
    alone = torch.cat([F.linear(row[None], weight) for row in rows])
    with steady(CPU):
        steady_many = F.linear(rows, weight)
        steady_alone = torch.cat([F.linear(row[None], weight) for row in rows])
    if torch.equal(alone, many):
        pytest.skip("this machine's products do not depend on the number of rows")
    assert torch.equal(steady_alone, steady_many)


def test_attention_is_what_it_is_without_it() -> None:
    """Filling up changes no value beyond rounding, whatever the mask."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8, dtype=torch.float64) for n in (5, 19, 19))
    visible = torch.rand(2, 1, 5, 19) < 0.5
    visible[..., 0] = True
    additive = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -torch.inf)
    square = torch.randn(2, 3, 19, 8, dtype=torch.float64)
    for query_rows, mask, is_causal in (
        (query, None, False),
        (query, visible, False),
        (query, additive, False),
        (square, None, True),
    ):
        expected = F.scaled_dot_product_attention(query_rows, key, value, mask, is_causal=is_causal)
        with steady(CPU):
            filled = F.scaled_dot_product_attention(
                query_rows, key, value, mask, is_causal=is_causal
            )
        torch.testing.assert_close(filled, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("number", [1, 2, 5, 7])
@pytest.mark.parametrize(
    "activation",
    [F.silu, torch.sigmoid, F.gelu, partial(F.gelu, approximate="tanh")],
    ids=["silu", "sigmoid", "gelu", "gelu-tanh"],
)
def test_an_activation_does_not_depend_on_how_many_there_are(
    activation: Callable[[Tensor], Tensor], number: int, threads: Callable[[int], None]
) -> None:
    threads(number)
    torch.manual_seed(0)
    rows = 4 * torch.randn(1500, 48)
    rows[0, :4] = torch.tensor([-1e30, 1e30, -100.0, 100.0])
    with steady(CPU):
        many = activation(rows)
        for few in (1, 3, 17, 700, 1201):
            assert torch.equal(activation(rows[:few].clone()), many[:few]), few
    torch.testing.assert_close(many, activation(rows), rtol=1e-5, atol=1e-6)
    half = rows.bfloat16()
    with steady(CPU):
        assert activation(half).dtype == torch.bfloat16
        torch.testing.assert_close(activation(half), activation(half.float()).bfloat16())


def test_the_last_token_of_all_is_read_as_any_other(policy_folder: Path) -> None:
    """The tiny model's MLP is 48 wide: of an odd number of tokens the last half fills no register."""
    scorer = new_scorer(ScorerConfig(kind="reward", backbone=str(policy_folder)), seed=1)
    groups = [Group(str(i), f"Question {i}?", tuple(map(str, range(8)))) for i in range(16)]
    together = scorer.rewards(groups)
    for group, rewards in zip(groups, together, strict=True):
        for place, reward in enumerate(rewards):
            (alone,) = scorer.rewards([group.take([place])])
            assert alone[0] == reward
