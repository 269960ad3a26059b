"""Attention over a packed row of trees in one kernel: torch's FlexAttention.

Where trees stand depth first, all that is below a node follows it. A query q then reads a key k
exactly where k ≤ q < the end of all below k's node, so one number a token is the whole mask. The
kernel wants to know of every tile of 128 queries and 128 keys whether all, some or none of its
products are read. That is counted from the spans of the nodes, on the host (`tiles`), before
anything runs on the device.

Source: Dong et al. 2024, "Flex Attention", arXiv 2412.05496; the interface is that of torch's
`torch.nn.attention.flex_attention`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch._higher_order_ops.flex_attention import flex_attention as definition
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from rewarddiff.devices import to_device
from rewarddiff.forward.tiles import TILE, listed, tiles
from rewarddiff.trees import NodeTable, group_tree, pack

logger = logging.getLogger(__name__)

SHORTEST = 1024
"""Tokens of a row from which the kernel is used on a GPU. Not measured: below, a row has so few
blocks that they can be called one by one."""

KINDS = 64
"""How often the kernel may be compiled: once or twice (a first length, then any) for each kind of
layer, dtype, and with and without gradients. Torch's own limit is 8."""

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class FlexMasks:
    """The masks of one packed row, each made once for all layers that ask for its window.

    Args:
        table: of nodes that stand depth first; their tokens fill a multiple of `TILE`.
    """

    def __init__(self, table: NodeTable, device: torch.device) -> None:
        self.table = table
        self.device = device
        stop_below = np.repeat(table.stop_below, table.lengths)
        self._stop_below = self._on_device(stop_below)
        self._positions = self._on_device(table.positions)
        self._masks: dict[int | None, BlockMask] = {}

    def of(self, window: int | None) -> BlockMask:
        """Return the mask of layers that read so many positions backwards; None: all."""
        if window is not None and window >= self.table.longest:
            window = None  # nothing is hidden by it
        if window not in self._masks:
            self._masks[window] = self._block_mask(window)
        return self._masks[window]

    def _block_mask(self, window: int | None) -> BlockMask:
        some, every = tiles(self.table, window)
        tensors: dict[str, Any] = {}
        # What a query's tile reads, for the forward pass; and what reads a key's, for the backward.
        for name, flags in {
            "kv": some,
            "full_kv": every,
            "q": some.T,
            "full_q": every.T,
        }.items():
            counts, places = listed(flags)
            tensors[f"{name}_num_blocks"] = self._on_device(counts)[None, None]
            tensors[f"{name}_indices"] = self._on_device(places)[None, None]
        tokens = len(self._stop_below)
        return BlockMask(
            seq_lengths=(tokens, tokens),
            BLOCK_SIZE=(TILE, TILE),
            mask_mod=self._mask_mod(window),
            **tensors,
        )

    def _mask_mod(self, window: int | None) -> MaskMod:
        if window is None:
            return reads_above(self._stop_below)
        earliest = self._on_device(self.table.positions - window + 1)
        return reads_above_within(self._stop_below, self._positions, earliest)

    def _on_device(self, values: npt.NDArray[Any]) -> Tensor:
        return to_device(torch.from_numpy(values.astype(np.int32)), self.device)


def reads_above(stop_below: Tensor) -> MaskMod:
    """Return FlexAttention's mask of trees.

    Args:
        stop_below: of each token's node, where the last token below it ends, (tokens,).
    """

    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < stop_below[key])

    return mask_mod


def reads_above_within(stop_below: Tensor, positions: Tensor, earliest: Tensor) -> MaskMod:
    """Return FlexAttention's mask of trees in a layer that slides a window.

    Args:
        positions: of each token on its path, (tokens,).
        earliest: the first position that each query may read, (tokens,).
    """

    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_above = (key <= query) & (query < stop_below[key])
        return is_above & (positions[key] >= earliest[query])

    return mask_mod


def capped(cap: float) -> ScoreMod:
    """Return FlexAttention's change of scores that holds them within ±cap by a tanh (Gemma 2)."""

    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return score_mod


# -- attention --------------------------------------------------------------------------------


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    *,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """Attend in one kernel: (1, heads, tokens, d), keys and values of as many heads or fewer.

    On a CPU, for tests, by the kernel's definition, which keeps every score.
    """
    score_mod = None if softcap is None else capped(softcap)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    run = _compiled(query.device.type)
    # A second soft cap would become a variable of the kernel, which has no gradient then.
    with torch._dynamo.config.patch(recompile_limit=KINDS, specialize_float=True):
        return run(query, key, value, score_mod, mask, scale)


@cache
def _compiled(device: str) -> Callable[..., Tensor]:
    """Return the compiled kernel. What it cannot take is an error, never a slow way round."""
    if device == "cpu":
        # Compiled in name only. Traced, as a checkpoint wants it: called as it is, it would make the
        # gradient of a soft cap anew in the middle of the checkpoint's own bookkeeping.
        return torch.compile(_by_definition, backend="aot_eager", fullgraph=True)
    return torch.compile(_fused, fullgraph=True)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: ScoreMod | None,
    mask: BlockMask,
    scale: float,
) -> Tensor:
    # Said of lengths that vary, this keeps the kernel from looking at every load for a row's end.
    torch._check(query.shape[2] % TILE == 0)
    torch._check(key.shape[2] == query.shape[2])
    output: Tensor = flex_attention(
        query,
        key,
        value,
        score_mod=score_mod,
        block_mask=mask,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
        # Every query reads itself.
        kernel_options={"ROWS_GUARANTEED_SAFE": True},
    )
    return output


def _by_definition(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: ScoreMod | None,
    mask: BlockMask,
    scale: float,
) -> Tensor:
    """Attend by torch's own definition of FlexAttention, which has gradients on a CPU too."""
    output, _, _ = definition(query, key, value, score_mod or _as_it_is, mask.as_tuple(), scale, {})
    return output


def _as_it_is(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return score


# -- whether this machine has it ----------------------------------------------------------------


@cache
def works(
    heads: int, kv_heads: int, width: int, dtype: torch.dtype, softcap: float | None, device: str
) -> bool:
    """Try the kernel once: numbers and gradients of drawn trees, against the definition.

    Args:
        width: numbers a head.
    """
    try:
        # In a thread of its own, where no checkpoint listens and nothing is cast or left out.
        with ThreadPoolExecutor(1) as thread:
            given = (heads, kv_heads, width, dtype, softcap, torch.device(device))
            error = thread.submit(_error, *given).result()
    except Exception as failure:  # whatever a compiler raises means: it cannot
        first_line, *_ = [*str(failure).splitlines(), ""]
        cause = f"{type(failure).__name__}: {first_line}"
    else:
        limit = 3e-2 if dtype in (torch.bfloat16, torch.float16) else 5e-3  # TF32 has 10 bits
        if error < limit:
            return True
        cause = f"its numbers differ by {error:.1e}"
    logger.warning("FlexAttention does not work here (%s): attending block by block", cause)
    return False


def _error(
    heads: int,
    kv_heads: int,
    width: int,
    dtype: torch.dtype,
    softcap: float | None,
    device: torch.device,
) -> float:
    """Return how far the kernel is from the definition: of outputs and gradients, the largest."""
    trees = [group_tree([0] * 90, [[0] * 70, [0] * 140]), group_tree([0] * 150, [[0] * 62])]
    packed = pack(trees, multiple=TILE)
    table = packed.table
    assert table is not None
    tokens = packed.input_ids.shape[1]
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, heads, tokens, width), *[(1, kv_heads, tokens, width)] * 2]
    inputs = [torch.randn(shape, generator=draw) for shape in shapes]
    weights = torch.randn(shapes[0], generator=draw)

    def run(place: torch.device, precision: torch.dtype) -> list[Tensor]:
        mask = FlexMasks(table, place).of(None)
        q, k, v = (tensor.to(place, precision).requires_grad_() for tensor in inputs)
        output = attend(q, k, v, mask, scaling=None, softcap=softcap)
        gradients = torch.autograd.grad(output, (q, k, v), weights.to(output))
        return [tensor.detach().double().cpu() for tensor in (output, *gradients)]

    ours = run(device, dtype)
    theirs = run(torch.device("cpu"), torch.float32)
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True))
