"""The body of a Hugging Face decoder over packed trees."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from rewarddiff.forward.attention import ATTENTION, Layout, tree_attention
from rewarddiff.forward.flex import SHORTEST
from rewarddiff.forward.tiles import TILE
from rewarddiff.forward.within import within
from rewarddiff.steady import is_steady
from rewarddiff.trees import CALL, Node, Packed, Tree, pack

logger = logging.getLogger(__name__)

CALL_ELSEWHERE = 300_000
"""What `trees.CALL` is off the CPU, where products are cheap and calls are not; not measured."""

Way = Literal["auto", "blocks", "fused"]
"""How trees are attended to: block by block, in one kernel, or in the one that should be faster."""


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
        attention: how trees are attended to. "fused" on a CPU keeps every score: for tests.
    """

    attention: Way = "auto"

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
        tokens = sum(map(len, trees))
        multiple = TILE if self._fuses(tokens) else 1
        return pack(trees, plain=self.plain, call=call, multiple=multiple).to(device)

    def _fuses(self, tokens: int) -> bool:
        """Tell whether a row of so many tokens is attended to in one kernel."""
        if self.attention == "auto":
            return self.inner.device.type == "cuda" and tokens >= SHORTEST
        return self.attention == "fused"

    def forward(self, packed: Packed) -> Tensor:
        """Return hidden states after the last norm, flat: (rows · columns, hidden)."""
        states: Tensor = self.inner.base_model(**self.inputs(packed)).last_hidden_state
        return states.flatten(0, 1)

    def inputs(self, packed: Packed) -> dict[str, Any]:
        """Return the arguments of the Hugging Face model for packed trees."""
        inputs: dict[str, Any] = {"input_ids": packed.input_ids, "use_cache": False}
        if packed.table is not None:
            # A four-dimensional mask is handed through untouched, so none is built; the layout does
            # the work.
            any_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=packed.input_ids.device)
            inputs["attention_mask"] = any_mask
            inputs["position_ids"] = packed.position_ids
            can_fuse = packed.table.depth_first and packed.input_ids.shape[1] % TILE == 0
            inputs["tree"] = Layout(packed, fused=can_fuse and self._fuses(packed.size))
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
                ours = within(self.model, self.forward, trees)[trees.tokens].float()
            inner.set_attn_implementation(original)
            rows = pack([tree, tree], plain=True).to(inner.device)
            theirs = within(self.model, self.forward, rows)[rows.tokens].float()
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
