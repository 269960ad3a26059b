"""FlexAttention for trees: its numbers beside attention by blocks, its masks beside torch's own."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_examples import made
from test_forward import CONFIGS, DEPTH_FIRST, TOLERANCE, TREES, gradients, make, one_at_a_time
from test_trees import grown, read_by_paths
from torch.nn.attention.flex_attention import create_block_mask
from torch.utils._sympy.functions import Mod

from rewarddiff.forward import Layout, LogProbs, flex, switch_dropout_off, tree_attention
from rewarddiff.forward.flex import FlexMasks
from rewarddiff.forward.tiles import TILE, tiles
from rewarddiff.loop.prepared import checkpoint_layers
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.objectives.lists import RRHF
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.trees import Node, Packed, Tree, group_tree, pack


def packed_for_kernel(trees: list[Tree]) -> Packed:
    return pack(trees, multiple=TILE)


def forest(seed: int, scale: int) -> list[Tree]:
    """Up to six trees, depth first, with nodes of up to 9 · `scale` tokens."""
    rng = random.Random(seed)
    trees = []
    for _ in range(rng.randint(1, 6)):
        nodes = grown(rng.randrange(10**6)).nodes
        sizes = [len(node.tokens) * rng.randint(1, scale) for node in nodes]
        pairs = zip(nodes, sizes, strict=True)
        trees.append(Tree(tuple(Node((0,) * size, node.parent) for node, size in pairs)))
    return trees


# -- which tiles are read ---------------------------------------------------------------------


def test_tiles_of_one_tree_by_hand() -> None:
    """A prompt of 256 tokens with two responses of 128: queries down, keys across, in tiles.

    The prompt's second tile reads the first wholly and itself in part; each response reads the
    prompt wholly and itself in part, and nothing of the other.
    """
    table = packed_for_kernel([group_tree([0] * 256, [[0] * 128, [0] * 128])]).table
    some, every = tiles(table)
    assert some.tolist() == torch.eye(4).bool().tolist()
    assert every.astype(int).tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]


@given(
    st.integers(0, 10**6), st.sampled_from([1, 10, 30]), st.sampled_from([None, 1, 50, 128, 300])
)
@settings(deadline=None, max_examples=60)
def test_masks_are_those_that_torch_makes_of_the_whole_grid(
    seed: int, scale: int, window: int | None
) -> None:
    packed = packed_for_kernel(forest(seed, scale))
    ours = FlexMasks(packed.table, torch.device("cpu")).of(window)
    tokens = packed.input_ids.shape[1]
    theirs = create_block_mask(ours.mask_mod, None, None, tokens, tokens, device="cpu")
    assert ours.shape == theirs.shape
    assert ours.BLOCK_SIZE == theirs.BLOCK_SIZE
    for name in ours._TENSOR_ATTRS:
        expected = getattr(theirs, name)
        actual = getattr(ours, name)
        if expected is None:
            assert actual is None
            continue
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        assert torch.equal(actual, expected), name


@pytest.mark.parametrize("window", [None, 4])
def test_one_number_a_token_is_the_whole_mask(window: int | None) -> None:
    """What the kernel's mask lets a query read is what stands before it on its path."""
    for seed in range(60):
        trees = [grown(seed), grown(seed + 1000)]
        packed = packed_for_kernel(trees)
        mask_mod = FlexMasks(packed.table, torch.device("cpu")).of(window).mask_mod
        places = torch.arange(packed.size)
        zero = torch.tensor(0)
        actual = mask_mod(zero, zero, places[:, None], places[None, :])
        expected = torch.block_diag(*(read_by_paths(tree, window) for tree in trees)).bool()
        assert torch.equal(actual, expected), seed


def test_a_window_longer_than_every_path_makes_no_mask_of_its_own() -> None:
    masks = FlexMasks(packed_for_kernel(TREES[:2]).table, torch.device("cpu"))
    assert masks.of(10**6) is masks.of(None)
    assert masks.of(3) is not masks.of(None)


# -- attention --------------------------------------------------------------------------------


LONG = [
    group_tree([0] * 90, [[0] * 70, [0] * 140, [0] * 3]),
    Tree((Node((0,) * 60), Node((0,) * 50, 0), Node((0,) * 45, 1), Node((0,) * 30, 0))),
    group_tree([0], [[0], [0] * 12]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 40])
def test_the_kernel_attends_as_blocks_do(
    window: int | None, softcap: float | None, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    packed = packed_for_kernel(LONG)
    tokens = packed.input_ids.shape[1]
    shapes = [(1, 4, tokens, 16), (1, 2, tokens, 16), (1, 2, tokens, 16)]
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    weights = torch.randn(1, tokens, 4, 16, dtype=dtype)
    results = []
    for fused in (False, True):
        output, _ = tree_attention(
            torch.nn.Module(),
            *inputs,
            None,
            scaling=0.3,
            tree=Layout(packed, fused=fused),
            sliding_window=window,
            softcap=softcap,
        )
        results.append((output, *torch.autograd.grad(output, inputs, weights)))
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    for by_blocks, by_kernel in zip(*results, strict=True):
        torch.testing.assert_close(by_kernel, by_blocks, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_models_in_the_kernel_equal_separate_sequences(name: str) -> None:
    """Groups and trees of depth two; grouped heads, sliding windows, soft caps: packed as one row."""
    model = make(name).eval()
    expected = one_at_a_time(model, DEPTH_FIRST)
    expected_gradients = gradients(model, expected)
    policy = LogProbs(model)
    policy.trunk.attention = "fused"
    switch_dropout_off(model)
    packed = policy.pack(DEPTH_FIRST)
    assert packed.input_ids.shape == (1, TILE)
    assert policy.trunk.inputs(packed)["tree"].flex is not None
    values = policy(packed)
    torch.testing.assert_close(values, expected, rtol=TOLERANCE, atol=TOLERANCE)
    for key, gradient in gradients(model, values).items():
        torch.testing.assert_close(
            gradient, expected_gradients[key], rtol=TOLERANCE, atol=TOLERANCE, msg=key
        )


def test_trees_that_do_not_stand_depth_first_are_read_block_by_block() -> None:
    model = make("llama").eval()
    expected = one_at_a_time(model, TREES)
    policy = LogProbs(model)
    policy.trunk.attention = "fused"
    packed = policy.pack(TREES)
    assert policy.trunk.inputs(packed)["tree"].flex is None
    torch.testing.assert_close(policy(packed), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_gradient_checkpointing_in_the_kernel_changes_nothing() -> None:
    model = make("gemma2")
    policy = LogProbs(model)
    policy.trunk.attention = "fused"
    switch_dropout_off(model)
    before = gradients(model, policy(policy.pack(DEPTH_FIRST)))
    checkpoint_layers(model)
    switch_dropout_off(model)
    after = gradients(model, policy(policy.pack(DEPTH_FIRST)))
    for key, gradient in before.items():
        torch.testing.assert_close(after[key], gradient, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_function_that_a_gpu_compiles_has_the_gradients_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch refuses gradients of FlexAttention on a CPU; its definition, traced, has them."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    traced = torch.compile(flex._fused, backend="aot_eager", fullgraph=True)
    model = make("gemma2")
    policy = LogProbs(model)
    checkpoint_layers(model)
    switch_dropout_off(model)
    by_blocks = gradients(model, policy(policy.pack(DEPTH_FIRST)))
    monkeypatch.setattr(flex, "_compiled", lambda _: traced)
    policy.trunk.attention = "fused"
    by_kernel = gradients(model, policy(policy.pack(DEPTH_FIRST)))
    for key, gradient in by_blocks.items():
        torch.testing.assert_close(by_kernel[key], gradient, rtol=1e-10, atol=1e-10)


@given(st.integers(0, 10**6), st.booleans())
@settings(deadline=None, max_examples=8)
def test_drawn_forests_are_read_alike(seed: int, has_window: bool) -> None:
    torch.manual_seed(seed)
    window = 40 if has_window else None
    packed = packed_for_kernel(forest(seed, 10))
    q, k, v = (
        torch.randn(1, heads, packed.input_ids.shape[1], 8, requires_grad=True)
        for heads in (2, 1, 1)
    )
    by_blocks, by_kernel = (
        tree_attention(
            torch.nn.Module(),
            q,
            k,
            v,
            None,
            tree=Layout(packed, fused=fused),
            sliding_window=window,
        )[0]
        for fused in (False, True)
    )
    torch.testing.assert_close(by_kernel, by_blocks, rtol=2e-5, atol=2e-5)
    weights = torch.randn_like(by_blocks)
    expected = torch.autograd.grad(by_blocks, (q, k, v), weights)
    actual = torch.autograd.grad(by_kernel, (q, k, v), weights)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", [DPO(), RRHF()])
def test_an_objective_has_the_same_loss_and_gradient_in_the_kernel(
    objective: AlignmentConfig,
) -> None:
    items = [replace(item, reference=(-1.0,) * item.responses) for item in made(4)]
    policy = LogProbs(make("llama"))
    switch_dropout_off(policy.model)
    aligned = objective.over(policy)
    results = []
    for attention in ("blocks", "fused"):
        policy.trunk.attention = attention
        loss = aligned.loss(policy, items).loss
        results.append((loss, gradients(policy.model, loss[None])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


def test_under_autocast_queries_and_keys_come_in_the_precision_of_values() -> None:
    """Rotary angles leave queries and keys in float32, which the kernel would refuse."""
    model = make("llama").float().eval()
    policy = LogProbs(model)
    packed = policy.pack(DEPTH_FIRST)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        by_blocks = policy(packed)
        policy.trunk.attention = "fused"
        by_kernel = policy(policy.pack(DEPTH_FIRST))
    torch.testing.assert_close(by_kernel, by_blocks, rtol=0.02, atol=0.02)


def test_the_kernel_is_left_alone_on_a_cpu_unless_asked_for() -> None:
    policy = LogProbs(make("llama"))
    long = group_tree([5] * 1000, [[6] * 600, [7] * 600])
    packed = policy.pack([long])
    assert packed.input_ids.shape == (1, 2200)
    assert policy.trunk.inputs(packed)["tree"].flex is None


def test_a_kernel_that_fails_is_said_once_and_blocks_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no compiler\nmore")

    flex.works.cache_clear()
    monkeypatch.setattr(flex, "attend", fails)
    for _ in range(2):
        assert not flex.works(4, 2, 16, torch.float32, None, "cpu")
    flex.works.cache_clear()
    assert caplog.text.count("RuntimeError: no compiler): attending block by block") == 1


def test_numbers_that_differ_refuse_the_kernel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert flex.works(4, 2, 16, torch.float32, 3.0, "cpu")
    flex.works.cache_clear()
    right = flex.attend
    calls = []

    def wrong_at_first(*args: object, **kwargs: object) -> torch.Tensor:
        calls.append(1)
        return right(*args, **kwargs) * (1.1 if len(calls) == 1 else 1.0)

    monkeypatch.setattr(flex, "attend", wrong_at_first)
    assert not flex.works(4, 2, 16, torch.float32, 3.0, "cpu")
    flex.works.cache_clear()
    assert "its numbers differ by 1.0e-01" in caplog.text


# -- compiled ---------------------------------------------------------------------------------


def test_rows_of_any_length_are_compiled_once_or_twice_a_kind_of_layer() -> None:
    """The first length, then any: with a window, or a cap, anew. Another row needs nothing new."""
    traces = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        traces.append(graph)
        return graph

    torch.compiler.reset()
    kernel = torch.compile(flex._fused, fullgraph=True, backend=counted)
    kinds = ((None, None, 2), (40, None, 4), (50, None, 4), (None, 2.0, 5), (None, 3.0, 6))
    for window, softcap, expected_traces in kinds:
        for times in (1, 2, 3):
            packed = packed_for_kernel(LONG[:1] * times)
            tokens = packed.input_ids.shape[1]
            mask = FlexMasks(packed.table, torch.device("cpu")).of(window)
            q, k, v = (torch.randn(1, heads, tokens, 16) for heads in (4, 2, 2))
            score_mod = None if softcap is None else flex.capped(softcap)
            with torch._dynamo.config.patch(specialize_float=True):
                output = kernel(q, k, v, score_mod, mask, 0.25)
            by_blocks, _ = tree_attention(
                torch.nn.Module(), q, k, v, None, tree=Layout(packed), sliding_window=window,
                softcap=softcap,
            )  # fmt: skip
            torch.testing.assert_close(output.transpose(1, 2), by_blocks, rtol=2e-5, atol=2e-5)
        assert len(traces) == expected_traces


def test_lengths_that_vary_are_known_to_fill_tiles() -> None:
    """The kernel leaves its checks of a row's end out where it can prove that there is none."""
    proofs = []

    def proves(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        for node in graph.graph.find_nodes(op="placeholder"):
            value = node.meta["example_value"]
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                length = value.shape[2]
                environment = length.node.shape_env
                fills = sympy.Eq(Mod(length.node.expr, TILE), 0)
                proofs.append(environment._maybe_evaluate_static(fills))
        return graph

    torch.compiler.reset()
    kernel = torch.compile(flex._fused, fullgraph=True, dynamic=True, backend=proves)
    packed = packed_for_kernel(LONG)
    mask = FlexMasks(packed.table, torch.device("cpu")).of(None)
    q, k, v = torch.randn(3, 1, 2, packed.input_ids.shape[1], 16)
    kernel(q, k, v, None, mask, 0.25)
    assert proofs
    assert all(proofs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("softcap", [None, 30.0])
def test_the_kernel_works_on_the_gpu(softcap: float | None) -> None:
    assert flex.works(8, 2, 64, torch.bfloat16, softcap, "cuda")
    assert flex.works(32, 8, 128, torch.bfloat16, softcap, "cuda")
