"""A Hugging Face decoder over packed token trees: hidden states and log-probabilities.

The attention of the model is replaced, through transformers' own registry, by one that works tree
by tree; every other layer sees one long row without padding. Whether a model can do this is not
looked up in a list: at load, one small tree is run both ways and compared, and a model that answers
differently (recurrent layers, ALiBi, code of its own) is run on plain padded rows from then on,
with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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

from rewarddiff.steady import is_steady
from rewarddiff.trees import CALL, Block, Node, Packed, Tree, group_tree, pack

logger = logging.getLogger(__name__)

ATTENTION = "token_tree"
LOGITS_CHUNK = 256
"""Response tokens whose logits exist at one time."""
CALL_ELSEWHERE = 300_000
"""What `trees.CALL` is off the CPU, where products are cheap and calls are not; not measured."""


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
        visible = block.visible(self.packed.position_ids[0], window)
        mask = torch.zeros(visible.shape, dtype=like.dtype).masked_fill_(~visible, -torch.inf)
        return mask[None, None].to(like.device)


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
    """Attend block by block; without a tree, by transformers' own `sdpa`.

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
    masks = tree.masks(sliding_window, query, every=softcap is not None)
    outputs = []
    for q, read, mask in zip(queries, tree.read, masks, strict=True):
        k = _at(keys, read)
        v = _at(values, read)
        if softcap is None:
            outputs.append(_attended(q, k, v, mask, scaling, dropout))
        else:
            assert mask is not None
            outputs.append(_attended_with_cap(q, k, v, mask, scaling, dropout, softcap))
    return torch.cat(outputs, 2).transpose(1, 2).contiguous(), None


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
    weights = scores.softmax(-1, dtype=torch.float32).to(v.dtype)
    return F.dropout(weights, dropout) @ v


def _at(pieces: Sequence[Tensor], places: Sequence[int]) -> Tensor:
    """Return pieces laid end to end; one alone is not copied."""
    if len(places) == 1:
        return pieces[places[0]]
    return torch.cat([pieces[place] for place in places], 2)


AttentionInterface.register(ATTENTION, tree_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def switch_dropout_off(model: nn.Module) -> None:
    """Switch every dropout off, functional ones too, and keep gradient checkpointing on.

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

    Attributes:
        plain: whether inputs are laid out as plain rows (pack with `plain=trunk.plain`, or use
            `trunk.pack`).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.plain = not self._can_read_trees()

    @property
    def inner(self) -> PreTrainedModel:
        """The Hugging Face model itself, inside a peft wrapper or not."""
        model: Any = self.model
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
        inner: PreTrainedModel = model
        return inner

    def pack(self, trees: list[Tree]) -> Packed:
        """Lay trees out as this model reads them."""
        device = self.inner.device
        call = CALL if device.type == "cpu" else CALL_ELSEWHERE
        if is_steady():
            # Every node by itself: beside others it would read keys that stand further apart.
            call = 0
        return pack(trees, plain=self.plain, call=call).to(device)

    def forward(self, packed: Packed) -> Tensor:
        """Return hidden states after the last norm, flat: (rows · columns, hidden)."""
        states: Tensor = self.inner.base_model(**self.inputs(packed)).last_hidden_state
        return states.flatten(0, 1)

    def inputs(self, packed: Packed) -> dict[str, Any]:
        """Return the arguments of the Hugging Face model for packed trees."""
        inputs: dict[str, Any] = {"input_ids": packed.input_ids, "use_cache": False}
        if packed.blocks:
            # A four-dimensional mask is handed through untouched, so none is built; the layout does
            # the work.
            any_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=packed.input_ids.device)
            inputs["attention_mask"] = any_mask
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
            first_line, *_ = [*str(error).splitlines(), ""]
            cause = f"{type(error).__name__}: {first_line}"
        if cause is None:
            return True
        inner.set_attn_implementation(original)
        logger.warning(
            "%s cannot read token trees (%s): using plain padded rows", type(inner).__name__, cause
        )
        return False

    def _compare(self, original: str) -> str | None:
        """Return why trees do not work; None where they do."""
        inner = self.inner
        config = inner.config.get_text_config()
        if getattr(config, "attention_chunk_size", None):
            return "chunked attention"
        training = inner.training
        inner.eval()
        tree = _example(min(config.vocab_size, 1000))
        watch = _Watch()
        with torch.no_grad():
            trees = pack([tree, tree], call=0).to(inner.device)  # cut as far as trees can be
            with watch:
                ours = self.forward(trees)[trees.tokens].float()
            inner.set_attn_implementation(original)
            rows = pack([tree, tree], plain=True).to(inner.device)
            theirs = self.forward(rows)[rows.tokens].float()
            inner.set_attn_implementation(ATTENTION)
        inner.train(training)
        if not watch.called:
            return "its attention is its own"
        has_window = getattr(config, "sliding_window", None) and getattr(
            config, "use_sliding_window", True
        )
        if has_window and not watch.sliding:
            return "a sliding window that is not handed to the attention function"
        error = ((ours - theirs).norm() / theirs.norm()).item()
        limit = 3e-2 if inner.dtype in (torch.bfloat16, torch.float16) else 1e-4
        if error < limit:
            return None
        return f"states differ by {error:.1e} from plain rows"


def _example(vocabulary: int) -> Tree:
    """Return a small tree of depth two, of drawn tokens."""
    draw = torch.Generator().manual_seed(0)
    nodes = []
    for length, parent in ((7, -1), (5, 0), (3, 1), (4, 0)):
        tokens = torch.randint(vocabulary, (length,), generator=draw).tolist()
        nodes.append(Node(tuple(tokens), parent))
    return Tree(tuple(nodes))


class _Watch:
    """Notes, while active, that tree attention was called and whether any layer slides a window."""

    def __init__(self) -> None:
        self.called = False
        self.sliding = False

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

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = Trunk(model)
        self.knows_head = self._head_is_known()

    @property
    def model(self) -> PreTrainedModel:
        return self.trunk.model

    def pack(self, trees: list[Tree]) -> Packed:
        return self.trunk.pack(trees)

    def forward(
        self, packed: Packed, *, collision: bool = False, temperature: float = 1.0
    ) -> Tensor:
        """Return log-probabilities, nats, one per non-root token: (tokens,).

        They are in float32 (float64 for a float64 model).

        Args:
            collision: give log Σ_v π(v)² beside them, (tokens, 2): how likely two draws of the next
                token are to agree.
            temperature: what logits are divided by: the policy that is sampled from at it.
        """
        read = _gather_both if collision else _gather
        if not self.knows_head:
            logits = self.trunk.inner(**self.trunk.inputs(packed)).logits.flatten(0, 1)
            return read(logits[packed.read] / temperature, packed.targets)
        states = self.states(packed)
        return self.of_states(states, packed, collision=collision, temperature=temperature)

    def states(self, packed: Packed) -> Tensor:
        """Return the state that predicts each non-root token, (tokens, hidden)."""
        states: Tensor = self.trunk(packed)
        return states.index_select(0, packed.read)

    def of_states(
        self,
        states: Tensor,
        packed: Packed,
        *,
        collision: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """Return what `forward` does, given `states`; the head has to be known."""
        read = _tempered(_gather_both if collision else _gather, temperature)
        chunks = zip(states.split(LOGITS_CHUNK), packed.targets.split(LOGITS_CHUNK), strict=True)
        return torch.cat([recomputed(self._read_chunk, read, *chunk) for chunk in chunks])

    def _read_chunk(
        self, read: Callable[[Tensor, Tensor], Tensor], states: Tensor, targets: Tensor
    ) -> Tensor:
        return read(self._logits(states), targets)

    def _logits(self, states: Tensor) -> Tensor:
        inner = self.trunk.inner
        config: Any = inner.config.get_text_config()
        logits: Tensor = inner.get_output_embeddings()(states)
        cohere_scale = getattr(config, "logit_scale", None)
        if cohere_scale:
            logits = logits * cohere_scale
        granite_scale = getattr(config, "logits_scaling", None)
        if granite_scale:
            logits = logits / granite_scale
        gemma_cap = getattr(config, "final_logit_softcapping", None)
        if gemma_cap:
            logits = torch.tanh(logits / gemma_cap) * gemma_cap
        return logits

    def _head_is_known(self) -> bool:
        """Whether `_logits` gives the model's own logits; else its whole forward is used."""
        inner = self.trunk.inner
        training = inner.training
        inner.eval()
        packed = self.pack([group_tree([1, 2, 3], [[4, 5]])])
        with torch.no_grad():
            theirs = inner(**self.trunk.inputs(packed)).logits.flatten(0, 1).float()
            ours = self._logits(self.trunk(packed)).float()
        inner.train(training)
        if torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
            return True
        logger.warning(
            "%s changes its logits in a way not known here: all logits are kept",
            type(inner).__name__,
        )
        return False


Reading = Callable[[Tensor, Tensor], Tensor]
"""What is read of logits, given the tokens."""


def _tempered(read: Reading, temperature: float) -> Reading:
    """Return the reading of logits at a temperature."""
    if temperature == 1.0:
        return read
    return lambda logits, targets: read(logits / temperature, targets)


def _gather(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.dtype != torch.float64:
        logits = logits.float()
    return -F.cross_entropy(logits, targets, reduction="none")


def _gather_both(logits: Tensor, targets: Tensor) -> Tensor:
    logps = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    logps_of_targets = logps.gather(-1, targets[:, None])[:, 0]
    return torch.stack([logps_of_targets, (2 * logps).logsumexp(-1)], 1)


def recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Return `function(*args)`; its backward pass computes it again instead of keeping it."""
    if not torch.is_grad_enabled():
        return function(*args)
    output: Tensor = checkpoint(function, *args, use_reentrant=False)
    return output


def node_sums(packed: Packed, values: Tensor) -> Tensor:
    """Sum per-token values over each node: (tokens, …) → (nodes, …); roots get 0."""
    empty = torch.zeros(packed.nodes, *values.shape[1:], dtype=values.dtype, device=values.device)
    return empty.index_add(0, packed.owner, values)
