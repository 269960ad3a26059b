"""A Hugging Face decoder over packed token trees: hidden states, and log-probabilities of response
tokens.

The attention of the model is replaced, through transformers' own registry, by one that works tree
by tree; every other layer sees one long row without padding. Whether a model can do this is not
looked up in a list: at load, one small tree is run both ways and compared, and a model that answers
differently (recurrent layers, ALiBi, code of its own) is run on plain padded rows from then on,
with a warning.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from rewarddiff.trees import CALL, Block, Node, Packed, Tree, group_tree, pack

logger = logging.getLogger(__name__)

ATTENTION = "token_tree"
LOGITS_CHUNK = 256  # response tokens whose logits exist at one time
CALL_ELSEWHERE = 300_000  # what `trees.CALL` is off the CPU, where products are cheap and calls are not; not measured


class Layout:
    """The attention pattern of one packed input, with its masks made once per window and dtype.

    Attributes:
        longest: tokens on the longest path.
        queries: how many tokens each block has.
        pieces: how many tokens stand between neighbouring ends of what blocks read.
        read: the pieces that each block reads.
    """

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.longest = int(packed.position_ids.max()) + 1
        self.queries = [block.stop - block.start for block in packed.blocks]
        cuts = sorted({place for block in packed.blocks for span in block.keys for place in span})
        self.pieces = [b - a for a, b in pairwise(cuts)]
        place = {cut: i for i, cut in enumerate(cuts)}
        self.read = [
            [i for a, b in block.keys for i in range(place[a], place[b])] for block in packed.blocks
        ]
        self._masks: dict[tuple[int | None, torch.dtype, bool], list[Tensor | None]] = {}

    def masks(self, window: int | None, like: Tensor, *, every: bool) -> list[Tensor | None]:
        """One additive mask (1, 1, queries, keys) per block; None where it is plainly causal,
        unless `every`."""
        if window is not None and window >= self.longest:
            window = None  # nothing is hidden by it
        key = (window, like.dtype, every)
        if key not in self._masks:
            self._masks[key] = [
                None
                if block.causal and window is None and not every
                else self._mask(block, window, like)
                for block in self.packed.blocks
            ]
        return self._masks[key]

    def _mask(self, block: Block, window: int | None, like: Tensor) -> Tensor:
        visible = block.visible(self.packed.position_ids[0], window)
        return (
            torch.zeros(visible.shape, dtype=like.dtype)
            .masked_fill_(~visible, -torch.inf)[None, None]
            .to(like.device)
        )


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
    """Attention block by block; without a tree, transformers' own `sdpa`.

    query (1, heads, tokens, d); key and value (1, kv heads, tokens, d). Returns (1, tokens, heads,
    d).
    """
    if tree is None:
        if softcap is not None or s_aux is not None:
            raise NotImplementedError("plain rows need the model's own attention here")
        window: dict[str, Any] = (
            {} if sliding_window is None else {"sliding_window": sliding_window}
        )
        output, _ = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling=scaling,
            dropout=dropout,
            **window,
            **kwargs,
        )
        return output, None
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1 and (
        softcap is not None or query.device.type != "cpu"
    ):  # elsewhere no fast kernel takes a mask too
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    # Each tensor is split once: the backward pass of a slice would write the whole of it for every
    # block.
    queries, keys, values = (
        query.split(tree.queries, 2),
        key.split(tree.pieces, 2),
        value.split(tree.pieces, 2),
    )
    outputs = []
    masks = tree.masks(sliding_window, query, every=softcap is not None)
    for q, read, mask in zip(queries, tree.read, masks, strict=True):
        k, v = (
            x[read[0]] if len(read) == 1 else torch.cat([x[i] for i in read], 2)
            for x in (keys, values)
        )
        if softcap is None:
            out = F.scaled_dot_product_attention(
                q,
                k,
                v,
                mask,
                dropout,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        else:
            scale = scaling if scaling is not None else q.shape[-1] ** -0.5
            assert mask is not None
            logits = torch.tanh(q @ k.transpose(-1, -2) * scale / softcap) * softcap + mask
            weights = F.dropout(logits.softmax(-1, dtype=torch.float32).to(v.dtype), dropout)
            out = weights @ v
        outputs.append(out)
    return torch.cat(outputs, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, tree_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def switch_dropout_off(model: nn.Module) -> None:
    """Switch every dropout off, functional attention dropout included, and keep gradient
    checkpointing on.

    `eval()` does the first for modules and for functions that ask `self.training`; a checkpointed
    layer asks its own flag only, so that flag alone goes back on.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


class Trunk(nn.Module):
    """The body of a decoder over packed trees.

    Args:
        model: a causal LM, a bare decoder, or a peft model around one. Its attention implementation
            is changed; generation keeps working (it falls back to `sdpa`).
        plain: run plain padded rows without asking; otherwise the self-check decides.

    Attributes:
        plain: whether inputs are laid out as plain rows (pack with `plain=trunk.plain`, or use
            `trunk.pack`).
    """

    def __init__(self, model: PreTrainedModel, *, plain: bool = False) -> None:
        super().__init__()
        self.model = model
        self.plain = True
        if not plain:
            self.plain = not self._can_read_trees()

    @property
    def inner(self) -> PreTrainedModel:
        """The Hugging Face model itself, inside a peft wrapper or not."""
        model: Any = self.model
        inner: PreTrainedModel = (
            model.get_base_model() if hasattr(model, "get_base_model") else model
        )
        return inner

    def pack(self, trees: list[Tree]) -> Packed:
        device = self.inner.device
        return pack(
            trees, plain=self.plain, call=CALL if device.type == "cpu" else CALL_ELSEWHERE
        ).to(device)

    def forward(self, packed: Packed) -> Tensor:
        """Hidden states after the last norm, flat: (rows · columns, hidden)."""
        states: Tensor = self.inner.base_model(**self._inputs(packed)).last_hidden_state
        return states.flatten(0, 1)

    def _inputs(self, packed: Packed) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": packed.input_ids, "use_cache": False}
        if packed.blocks:
            # A four-dimensional mask is handed through untouched, so none is built; the layout does
            # the work.
            inputs["attention_mask"] = torch.ones(
                1, 1, 1, 1, dtype=torch.bool, device=packed.input_ids.device
            )
            inputs["position_ids"] = packed.position_ids
            inputs["tree"] = Layout(packed)
        return inputs

    def _can_read_trees(self) -> bool:
        """Run one small tree both ways; leave the model in tree mode only if the answers agree."""
        inner = self.inner
        original = inner.config._attn_implementation
        try:
            inner.set_attn_implementation(ATTENTION)
            cause = self._compare(original)
        except Exception as error:  # whatever foreign model code raises means: it cannot
            cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if cause is None:
            return True
        inner.set_attn_implementation(original)
        logger.warning(
            "%s cannot read token trees (%s): using plain padded rows", type(inner).__name__, cause
        )
        return False

    def _compare(self, original: str) -> str | None:
        """Why trees do not work, or None."""
        inner = self.inner
        config = inner.config.get_text_config()
        if getattr(config, "attention_chunk_size", None):
            return "chunked attention"
        training = inner.training
        inner.eval()
        draw = torch.Generator().manual_seed(0)
        high = min(config.vocab_size, 1000)
        ids = [torch.randint(high, (n,), generator=draw).tolist() for n in (7, 5, 3, 4)]
        parents = (-1, 0, 1, 0)
        tree = Tree(
            tuple(Node(tuple(tokens), parent) for tokens, parent in zip(ids, parents, strict=True))
        )
        window = _Watch()
        with torch.no_grad():
            trees = pack([tree, tree], call=0).to(inner.device)  # cut as far as trees can be
            with window:
                ours = self.forward(trees)[trees.tokens].float()
            inner.set_attn_implementation(original)
            rows = pack([tree, tree], plain=True).to(inner.device)
            theirs = self.forward(rows)[rows.tokens].float()
            inner.set_attn_implementation(ATTENTION)
        inner.train(training)
        if not window.called:
            return "its attention is its own"
        declared = (
            getattr(config, "sliding_window", None)
            if getattr(config, "use_sliding_window", True)
            else None
        )
        if declared and not window.sliding:
            return "a sliding window that is not handed to the attention function"
        error = ((ours - theirs).norm() / theirs.norm()).item()
        limit = 3e-2 if inner.dtype in (torch.bfloat16, torch.float16) else 1e-4
        return None if error < limit else f"states differ by {error:.1e} from plain rows"


class _Watch:
    """Notes, while active, that tree attention was called and whether any layer slides a window."""

    def __init__(self) -> None:
        self.called = self.sliding = False

    def __enter__(self) -> None:
        def watched(
            *args: Any, sliding_window: int | None = None, **kwargs: Any
        ) -> tuple[Tensor, None]:
            self.called = True
            self.sliding |= sliding_window is not None
            return tree_attention(*args, sliding_window=sliding_window, **kwargs)

        AttentionInterface.register(ATTENTION, watched)

    def __exit__(self, *_: object) -> None:
        AttentionInterface.register(ATTENTION, tree_attention)


class LogProbs(nn.Module):
    """A causal LM over packed trees: log π(token | prefix) of every response token.

    Logits exist for `LOGITS_CHUNK` response tokens at a time and are recomputed in the backward
    pass, never kept.
    """

    def __init__(self, model: PreTrainedModel, *, plain: bool = False) -> None:
        super().__init__()
        self.trunk = Trunk(model, plain=plain)
        self.own_head = self._head_is_known()

    @property
    def model(self) -> PreTrainedModel:
        return self.trunk.model

    def pack(self, trees: list[Tree]) -> Packed:
        return self.trunk.pack(trees)

    def forward(self, packed: Packed, *, collision: bool = False) -> Tensor:
        """Log-probabilities in float32 (float64 for a float64 model), nats, one per non-root token:
        (tokens,).

        Args:
            collision: give log Σ_v π(v)² beside them, (tokens, 2): how likely two draws of the next
                token are to agree.
        """
        read = _gather_both if collision else _gather
        if not self.own_head:
            logits = self.trunk.inner(**self.trunk._inputs(packed)).logits.flatten(0, 1)[
                packed.read
            ]
            return read(logits, packed.targets)
        states = self.trunk(packed).index_select(0, packed.read)
        parts = zip(states.split(LOGITS_CHUNK), packed.targets.split(LOGITS_CHUNK), strict=True)
        chunk = (
            _checkpointed if torch.is_grad_enabled() else lambda function, *args: function(*args)
        )
        return torch.cat([chunk(lambda h, t: read(self._logits(h), t), h, t) for h, t in parts])

    def _logits(self, states: Tensor) -> Tensor:
        inner = self.trunk.inner
        config: Any = inner.config.get_text_config()
        logits: Tensor = inner.get_output_embeddings()(states)
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits = logits / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            logits = torch.tanh(logits / cap) * cap
        return logits

    def _head_is_known(self) -> bool:
        """Whether `_logits` gives the model's own logits; if not, the model's whole forward is
        used."""
        inner = self.trunk.inner
        training = inner.training
        inner.eval()
        packed = self.pack([group_tree([1, 2, 3], [[4, 5]])])
        with torch.no_grad():
            theirs = inner(**self.trunk._inputs(packed)).logits.flatten(0, 1).float()
            ours = self._logits(self.trunk(packed)).float()
        inner.train(training)
        if torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
            return True
        logger.warning(
            "%s changes its logits in a way not known here: all logits are kept",
            type(inner).__name__,
        )
        return False


def _gather(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.dtype != torch.float64:
        logits = logits.float()
    return -F.cross_entropy(logits, targets, reduction="none")


def _gather_both(logits: Tensor, targets: Tensor) -> Tensor:
    logps = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return torch.stack([logps.gather(-1, targets[:, None])[:, 0], (2 * logps).logsumexp(-1)], 1)


def _checkpointed(function: Any, *args: Tensor) -> Tensor:
    output: Tensor = checkpoint(function, *args, use_reentrant=False)
    return output


def node_sums(packed: Packed, values: Tensor) -> Tensor:
    """Sum per-token values over each node: (tokens, …) → (nodes, …); roots get 0."""
    empty = torch.zeros(packed.nodes, *values.shape[1:], dtype=values.dtype, device=values.device)
    return empty.index_add(0, packed.owner, values)
