"""Parts of single operations, by which constants are chosen: where one way begins to pay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.gpu.figures import reset_memory, seconds_of
from benchmarks.gpu.shapes import Shape
from benchmarks.gpu.work import pairs, policy_items, word_tokenizer
from rewarddiff.forward import Layout, fused_head, tree_attention
from rewarddiff.forward.logprobs import _gather, recomputed
from rewarddiff.forward.tiles import TILE
from rewarddiff.forward.trunk import CALL_ELSEWHERE
from rewarddiff.trees import Tree, microbatches, pack

Answer = dict[str, Any]

ROWS = (512, 1_024, 2_048, 4_096, 8_192, 16_384)
CHUNKS = (256, 512, 1_024, 2_048, 4_096)
PREDICTED = 4_096
"""Response tokens of one micro-batch."""


def matmul(shape: Shape, device: str) -> Answer:
    """Return FLOP/s of bf16 products: of the model's own widest, and of a large square."""
    tokens = shape.microbatch_tokens
    square = 8_192
    if device == "cpu":
        tokens, square = 256, 256
    rates = {}
    for m, k, n in (
        (tokens, shape.hidden_size, shape.intermediate_size),
        (square, square, square),
    ):
        if device == "cpu":
            rate = machine.matmul_rate((m, k, n), torch.bfloat16, seconds=0.05, repeats=3)
        else:
            a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
            b = torch.randn(k, n, device=device, dtype=torch.bfloat16)
            rate = 2.0 * m * k * n / seconds_of(lambda a=a, b=b: a @ b, repeats=50, warm=20)
        rates[f"{m}x{k}@{k}x{n}"] = rate
    return {"matmul_flops_per_second": rates, "best": max(rates.values())}


def attention(shape: Shape, device: str) -> Answer:
    """Time one layer's attention over trees, forward and backward: in one kernel and by blocks."""
    forest = [item.tree for item in policy_items(pairs(512), word_tokenizer())]
    lengths = [300] if device == "cpu" else ROWS
    rows = []
    for length in lengths:
        cut = next(microbatches(list(map(len, forest)), length))
        rows.append(_attention([forest[i] for i in cut], shape, device))
    return {"attention": rows}


def _attention(trees: list[Tree], shape: Shape, device: str) -> Answer:
    packed = pack(trees, call=CALL_ELSEWHERE, multiple=TILE).to(torch.device(device))
    width = shape.hidden_size // shape.num_attention_heads
    tokens = packed.input_ids.shape[1]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    heads = (shape.num_attention_heads, shape.num_key_value_heads, shape.num_key_value_heads)
    inputs = [
        torch.randn(1, count, tokens, width, device=device, dtype=dtype, requires_grad=True)
        for count in heads
    ]
    answer: Answer = {"tokens": packed.size, "trees": len(trees), "blocks": len(packed.blocks)}
    few = {"repeats": 1, "warm": 1} if device == "cpu" else {}
    for way, fused in (("kernel", True), ("blocks", False)):
        layout = Layout(packed, fused=fused)

        def run(layout: Layout = layout) -> None:
            output, _ = tree_attention(nn.Module(), *inputs, None, tree=layout)
            output.sum().backward()

        answer[f"{way}_seconds"] = seconds_of(run, **few)
    answer["mask_seconds"] = seconds_of(lambda: _mask(packed), **few)
    return answer


def _mask(packed: Any) -> None:
    layout = Layout(packed, fused=True)
    assert layout.flex is not None
    layout.flex.of(None)


def logits(shape: Shape, device: str) -> Answer:
    """Time log-probabilities, forward and backward, by the size of a chunk, and by liger-kernel."""
    reset_memory()
    predicted = 64 if device == "cpu" else PREDICTED
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False, device=device, dtype=dtype)
    states = torch.randn(predicted, shape.hidden_size, device=device, dtype=dtype)
    states.requires_grad_()
    targets = torch.randint(shape.vocab_size, (predicted,), device=device)
    few = {"repeats": 1, "warm": 1} if device == "cpu" else {}

    def by_chunks(size: int) -> None:
        chunks = zip(states.split(size), targets.split(size), strict=True)
        values = [recomputed(_read, head, *chunk) for chunk in chunks]
        torch.cat(values).sum().backward()

    answer: Answer = {"predicted": predicted}
    for size in [16] if device == "cpu" else CHUNKS:
        answer[f"chunks_of_{size}_seconds"] = seconds_of(lambda size=size: by_chunks(size), **few)
    if fused_head.works(device, dtype, dtype):
        answer["liger_seconds"] = seconds_of(
            lambda: fused_head.logps(states, head.weight, targets, None).sum().backward()
        )
    return {"logits": answer}


def _read(head: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    return _gather(head(states), targets)
