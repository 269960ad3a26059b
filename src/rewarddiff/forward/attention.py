"""Attention over token trees, in place of a model's own: block by block, or in one fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rewarddiff.devices import precision_of_products, to_device
from rewarddiff.forward import flex
from rewarddiff.trees import Block, Packed

ATTENTION = "token_tree"


class Layout:
    """The attention pattern of one packed input, with its masks made once per window and dtype.

    Args:
        fused: attend in one kernel. Its trees have to stand depth first, in a row that is a multiple
            of `tiles.TILE`.

    Attributes:
        flex: the masks of that kernel; None: block by block.
        longest: tokens on the longest path.
        queries: how many tokens each block has.
        pieces: how many tokens stand between neighbouring ends of what blocks read.
        read: the pieces that each block reads.
    """

    def __init__(self, packed: Packed, *, fused: bool = False) -> None:
        assert packed.table is not None
        self.packed = packed
        self.longest = packed.table.longest
        self.flex: flex.FlexMasks | None = None
        if fused:
            self.flex = flex.FlexMasks(packed.table, packed.input_ids.device)
        self._positions = torch.from_numpy(packed.table.positions)
        self.queries = [block.stop - block.start for block in packed.blocks]
        ends: set[int] = set()
        for block in packed.blocks:
            for span in block.keys:
                ends.update(span)
        cuts = sorted(ends)
        self.pieces = [stop - start for start, stop in pairwise(cuts)]
        piece_at = {cut: i for i, cut in enumerate(cuts)}
        self.read: list[list[int]] = []
        for block in packed.blocks:
            pieces: list[int] = []
            for start, stop in block.keys:
                pieces += range(piece_at[start], piece_at[stop])
            self.read.append(pieces)
        self._masks: dict[tuple[int | None, torch.dtype, bool], list[Tensor | None]] = {}

    def masks(self, window: int | None, like: Tensor, *, every: bool) -> list[Tensor | None]:
        """Return an additive mask (1, 1, queries, keys) per block.

        Args:
            every: give one also for a block that is plainly causal, which else has None.
        """
        if window is not None and window >= self.longest:
            window = None  # nothing is hidden by it
        key = (window, like.dtype, every)
        if key not in self._masks:
            masks: list[Tensor | None] = []
            for block in self.packed.blocks:
                plainly_causal = block.causal and window is None
                masks.append(
                    None if plainly_causal and not every else self._mask(block, window, like)
                )
            self._masks[key] = masks
        return self._masks[key]

    def _mask(self, block: Block, window: int | None, like: Tensor) -> Tensor:
        visible = block.visible(self._positions, window)
        mask = torch.zeros(visible.shape, dtype=like.dtype).masked_fill_(~visible, -torch.inf)
        return to_device(mask[None, None], like.device)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend block by block or in one kernel; without a tree, by transformers' own `sdpa`.

    query (1, heads, tokens, d); key and value (1, kv heads, tokens, d). Returns (1, tokens, heads,
    d).
    """
    if tree is None:
        if softcap is not None or s_aux is not None:
            raise NotImplementedError("plain rows need the model's own attention here")
        if sliding_window is not None:
            kwargs["sliding_window"] = sliding_window
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return output, None
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    precision = precision_of_products(query)
    if tree.flex is not None and not dropout and _fuses(query, key, precision, softcap):
        mask = tree.flex.of(sliding_window)
        q, k, v = (tensor.to(precision) for tensor in (query, key, value))
        output = flex.attend(q, k, v, mask, scaling=scaling, softcap=softcap)
    elif query.device.type == "cpu":
        # In bfloat16 torch's kernel there takes longer, its backward pass twice as long for a block
        # of 100 tokens and four times for one of 20.
        precise = torch.promote_types(query.dtype, torch.float32)
        q, k, v = (tensor.to(precise) for tensor in (query, key, value))
        with torch.autocast("cpu", enabled=False):
            output = _by_blocks(
                q, k, v, tree, scaling, dropout, window=sliding_window, softcap=softcap
            )
        output = output.to(query.dtype)
    else:
        output = _by_blocks(
            query, key, value, tree, scaling, dropout, window=sliding_window, softcap=softcap
        )
    return output.transpose(1, 2).contiguous(), None


def _fuses(query: Tensor, key: Tensor, precision: torch.dtype, softcap: float | None) -> bool:
    """Tell whether the kernel works for such a layer, which is tried once; on a CPU it does."""
    if query.device.type == "cpu":
        return True
    _, heads, _, width = query.shape
    return flex.works(heads, key.shape[1], width, precision, softcap, str(query.device))


def _by_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tree: Layout,
    scaling: float | None,
    dropout: float,
    *,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    fast_with_groups = softcap is None and query.device.type == "cpu"
    if repeats > 1 and not fast_with_groups:  # elsewhere no fast kernel takes a mask too
        key = key.repeat_interleave(repeats, 1)
        value = value.repeat_interleave(repeats, 1)
    # Each tensor is split once: the backward pass of a slice would write the whole of it for every
    # block.
    queries = query.split(tree.queries, 2)
    keys = key.split(tree.pieces, 2)
    values = value.split(tree.pieces, 2)
    masks = tree.masks(window, query, every=softcap is not None)
    outputs = []
    for q, read, mask in zip(queries, tree.read, masks, strict=True):
        k = _at(keys, read)
        v = _at(values, read)
        if softcap is None:
            outputs.append(_attended(q, k, v, mask, scaling, dropout))
        else:
            assert mask is not None
            outputs.append(_attended_with_cap(q, k, v, mask, scaling, dropout, softcap))
    return torch.cat(outputs, 2)


def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float | None, dropout: float
) -> Tensor:
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        mask,
        dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def _attended_with_cap(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    scaling: float | None,
    dropout: float,
    cap: float,
) -> Tensor:
    """Attend with scores held within ±cap by a tanh, as Gemma 2 does."""
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    scores = torch.tanh(q @ k.transpose(-1, -2) * scale / cap) * cap + mask
    precision = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.softmax(-1, dtype=precision).to(v.dtype)
    return F.dropout(weights, dropout) @ v


def _at(pieces: Sequence[Tensor], places: Sequence[int]) -> Tensor:
    """Return pieces laid end to end; one alone is not copied."""
    if len(places) == 1:
        return pieces[places[0]]
    return torch.cat([pieces[place] for place in places], 2)


AttentionInterface.register(ATTENTION, tree_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
