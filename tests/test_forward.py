"""Trees against one-sequence-at-a-time forward passes: values and gradients, in float64."""

import logging

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from rewarddiff.forward import (
    Layout,
    LogProbs,
    Trunk,
    node_sums,
    switch_dropout_off,
    tree_attention,
    trunk,
)
from rewarddiff.loop.prepared import checkpoint_layers
from rewarddiff.trees import Node, Tree, group_tree, microbatches, pack

# Norms and rotary angles are computed in float32 inside these models even when the weights are
# float64.
TOLERANCE = 2e-6

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "llama": ("LlamaConfig", {"attention_dropout": 0.1}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "mistral": ("MistralConfig", {"sliding_window": 6}),
    "gemma": ("GemmaConfig", {}),
    "gemma2": (
        "Gemma2Config",
        {"sliding_window": 6, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    ),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
}


def make(name: str, **extra: object) -> transformers.PreTrainedModel:
    cls, own = CONFIGS[name]
    torch.manual_seed(0)
    config = getattr(transformers, cls)(**{**SMALL, **own, **extra})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64)


TREES = [
    group_tree([5, 6, 7, 8, 9, 10, 11], [[12, 13, 14, 15, 16], [17], [18, 19, 20]]),
    group_tree([21], [[22, 23], [24, 25, 26, 27, 28, 29, 30, 31, 32, 33]]),
    # depth two, as the difference model reads: prompt → y1 → {y1 again, y2}
    Tree(
        (
            Node((5, 6, 7)),
            Node((8, 9, 10), 0),
            Node((11, 12), 0),
            Node((13, 14, 15, 16), 1),
            Node((8, 9), 2),
        )
    ),
]


DEPTH_FIRST = [
    *TREES[:2],
    Tree(
        (
            Node((5, 6, 7)),
            Node((8, 9, 10), 0),
            Node((13, 14, 15, 16), 1),
            Node((11, 12), 0),
            Node((8, 9), 3),
        )
    ),
]


def one_at_a_time(model: transformers.PreTrainedModel, trees: list[Tree]) -> torch.Tensor:
    """Log-probabilities of every non-root token, each path run alone by the model itself."""
    model.set_attn_implementation("eager")
    values = []
    for tree in trees:
        for index, node in enumerate(tree.nodes):
            if node.parent < 0:
                continue
            ids = [t for n in tree.path(index) for t in tree.nodes[n].tokens]
            logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            start = len(ids) - len(node.tokens)
            values.append(torch.stack([logps[p - 1, ids[p]] for p in range(start, len(ids))]))
    return torch.cat(values)


def gradients(model: transformers.PreTrainedModel, values: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = torch.linspace(-1, 2, len(values), dtype=values.dtype)
    model.zero_grad()
    (weights * values).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node becomes a block of its own."""
    monkeypatch.setattr(trunk, "CALL", 0)
    assert (
        len(pack(TREES, call=0).blocks)
        == sum(len(tree.nodes) for tree in TREES if tree is not TREES[2]) + 1
    )
    assert len(pack(DEPTH_FIRST, call=0).blocks) == sum(len(tree.nodes) for tree in DEPTH_FIRST)


@pytest.mark.parametrize("name", CONFIGS)
def test_trees_in_blocks_equal_separate_sequences(name: str, cut: None) -> None:
    model = make(name).eval()
    expected = one_at_a_time(model, DEPTH_FIRST)
    expected_gradients = gradients(model, expected)
    policy = LogProbs(model)
    switch_dropout_off(model)
    packed = policy.pack(DEPTH_FIRST)
    assert len(packed.blocks) == 12
    values = policy(packed)
    torch.testing.assert_close(values, expected, rtol=TOLERANCE, atol=TOLERANCE)
    for key, gradient in gradients(model, values).items():
        torch.testing.assert_close(
            gradient, expected_gradients[key], rtol=TOLERANCE, atol=TOLERANCE, msg=key
        )


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("plain", [False, True], ids=["trees", "rows"])
def test_trees_equal_separate_sequences(
    name: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setattr(Trunk, "_can_read_trees", lambda _: False)
    model = make(name).eval()
    expected = one_at_a_time(model, TREES)
    expected_gradients = gradients(model, expected)
    policy = LogProbs(model)
    assert policy.trunk.plain is plain
    switch_dropout_off(model)
    values = policy(policy.pack(TREES))
    torch.testing.assert_close(values, expected, rtol=TOLERANCE, atol=TOLERANCE)
    actual = gradients(model, values)
    assert actual.keys() == expected_gradients.keys()
    for key, gradient in expected_gradients.items():
        torch.testing.assert_close(actual[key], gradient, rtol=TOLERANCE, atol=TOLERANCE, msg=key)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    model = make(name)
    policy = LogProbs(model)
    switch_dropout_off(model)
    before = gradients(model, policy(policy.pack(TREES)))
    checkpoint_layers(model)
    switch_dropout_off(model)
    calls = []
    layer = next(
        m
        for m in model.modules()
        if isinstance(m, transformers.modeling_layers.GradientCheckpointingLayer)
    )
    layer.register_forward_hook(lambda *_: calls.append(1))
    original = layer._gradient_checkpointing_func
    layer._gradient_checkpointing_func = lambda *a, **k: (calls.append(2), original(*a, **k))[1]
    after = gradients(model, policy(policy.pack(TREES)))
    assert 2 in calls, "the layer was not checkpointed"
    for key, gradient in before.items():
        torch.testing.assert_close(after[key], gradient, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_on_a_cpu_autocast_does_not_round_attention(softcap: float | None) -> None:
    layout = Layout(pack(DEPTH_FIRST))
    tokens = layout.packed.size
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, tokens, 8, generator=draw)
    key, value = (torch.randn(1, 2, tokens, 8, generator=draw) for _ in range(2))
    module = torch.nn.Module()
    plain, _ = tree_attention(module, query, key, value, None, tree=layout, softcap=softcap)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = tree_attention(module, query, key, value, None, tree=layout, softcap=softcap)
    assert torch.equal(cast, plain)
    halves = [tensor.bfloat16() for tensor in (query, key, value)]
    half, _ = tree_attention(module, *halves, None, tree=layout, softcap=softcap)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain, rtol=0.05, atol=0.05)


def test_functional_attention_dropout_is_off() -> None:
    model = make("llama").train()  # attention_dropout = 0.1
    policy = LogProbs(model)
    model.train()
    noisy = policy(policy.pack(TREES))
    switch_dropout_off(model)
    quiet = policy(policy.pack(TREES))
    torch.testing.assert_close(quiet, policy(policy.pack(TREES)), rtol=0, atol=0)
    assert not torch.allclose(noisy, quiet)


def test_recurrent_model_falls_back_to_rows(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=61,
        hidden_size=32,
        state_size=4,
        num_hidden_layers=2,
        conv_kernel=4,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    with caplog.at_level(logging.WARNING):
        policy = LogProbs(model)
    assert policy.trunk.plain
    assert "MambaForCausalLM cannot read token trees" in caplog.text
    values = policy(policy.pack(TREES)).double()  # Mamba gives float32 logits whatever its weights
    torch.testing.assert_close(
        values, one_at_a_time_mamba(model, TREES).double(), rtol=TOLERANCE, atol=TOLERANCE
    )


def one_at_a_time_mamba(model: transformers.PreTrainedModel, trees: list[Tree]) -> torch.Tensor:
    model.set_attn_implementation = lambda *_: None
    return one_at_a_time(model, trees)


def test_alibi_model_falls_back_to_rows(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    config = transformers.BloomConfig(
        vocab_size=61, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0
    )
    with caplog.at_level(logging.WARNING):
        trunk = Trunk(AutoModelForCausalLM.from_config(config, dtype=torch.float64))
    assert trunk.plain
    assert "BloomForCausalLM" in caplog.text


def test_generation_still_works_in_tree_mode() -> None:
    model = make("llama").eval()
    prompt = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    expected = model.generate(prompt, attention_mask=mask, max_new_tokens=8, do_sample=False)
    LogProbs(model)
    assert torch.equal(
        model.generate(prompt, attention_mask=mask, max_new_tokens=8, do_sample=False), expected
    )


def test_node_sums() -> None:
    packed = pack(TREES[:1])
    # node 0 is the root; branches have 5, 1 and 3 tokens
    assert node_sums(packed, torch.ones(9)).tolist() == [0, 5, 1, 3]


def test_a_tree_refuses_a_node_without_tokens() -> None:
    with pytest.raises(ValueError, match="node 1 of the tree has no tokens"):
        group_tree([1, 2], [[]])


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 60))
@settings(deadline=None)
def test_microbatches_keep_order_and_budget(sizes: list[int], budget: int) -> None:
    cut = list(microbatches(sizes, budget))
    assert [i for batch in cut for i in batch] == list(range(len(sizes)))
    assert all(len(b) == 1 or sum(sizes[i] for i in b) <= budget for b in cut)
