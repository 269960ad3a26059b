"""Log-probabilities of response tokens over packed trees."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from rewarddiff.devices import precision_of_products
from rewarddiff.forward import fused_head
from rewarddiff.forward.trunk import Trunk
from rewarddiff.forward.within import within
from rewarddiff.trees import Packed, Tree, group_tree

logger = logging.getLogger(__name__)

LOGITS_CHUNK = 256
"""Response tokens whose logits exist at one time on a CPU, and at least elsewhere."""

LOGITS_BYTES = 2**30
"""Bytes of float32 logits at one time off the CPU, where few rows leave a product's units idle.
Several such tensors exist at once: the logits as computed, their softmax, their gradient. Not
measured."""

LOGITS_KEPT = 2**28
"""Bytes of logits that are kept for the backward pass on a CPU; more are computed again in it. Those
of 800 tokens in bfloat16 are 79 MB beside gigabytes of activations, and a twentieth of a step."""

SCALES = ("logit_scale", "logits_scaling")
"""What Cohere's and Granite's configurations call a factor of their logits."""


class LogProbs(nn.Module):
    """A causal LM over packed trees: log π(token | prefix) of every response token.

    Logits are read a chunk of response tokens at a time. On a GPU, and on a CPU where they are
    large, they are recomputed in the backward pass and never kept. On a GPU with liger-kernel, its
    fused kernel reads plain heads.
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
        options = {"collision": collision, "temperature": temperature}
        return within(self.model, self._logps, packed, **options)

    def _logps(self, packed: Packed, *, collision: bool, temperature: float) -> Tensor:
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
        if not collision and temperature == 1.0 and self._head_is_fused(states):
            head: Any = self.trunk.inner.get_output_embeddings()
            return fused_head.logps(states, head.weight, packed.targets, self._cap)
        read = _tempered(_gather_both if collision else _gather, temperature)
        size = chunk_size(states.device.type, self._config.vocab_size)
        is_kept = not collision and self._logits_are_kept(states)
        run = _called if is_kept else recomputed
        chunks = zip(states.split(size), packed.targets.split(size), strict=True)
        return torch.cat([run(self._read_chunk, read, *chunk) for chunk in chunks])

    def _logits_are_kept(self, states: Tensor) -> bool:
        """Tell whether the logits of these states wait for the backward pass."""
        bytes_of_each = precision_of_products(states).itemsize
        tensors = 2 if self._cap else 1  # a tanh keeps its own values
        logits = tensors * len(states) * self._config.vocab_size
        return are_kept(states.device.type, logits, bytes_of_each)

    def _head_is_fused(self, states: Tensor) -> bool:
        """Tell whether the fused kernel reads this head: a plain product, perhaps with a cap."""
        head: Any = self.trunk.inner.get_output_embeddings()
        is_plain = type(head) is nn.Linear and head.bias is None
        if not is_plain or any(getattr(self._config, scale, None) for scale in SCALES):
            return False
        return fused_head.works(states.device.type, states.dtype, head.weight.dtype)

    def _read_chunk(
        self, read: Callable[[Tensor, Tensor], Tensor], states: Tensor, targets: Tensor
    ) -> Tensor:
        return read(self._logits(states), targets)

    def _logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self.trunk.inner.get_output_embeddings()(states)
        cohere_scale = getattr(self._config, "logit_scale", None)
        if cohere_scale:
            logits = logits * cohere_scale
        granite_scale = getattr(self._config, "logits_scaling", None)
        if granite_scale:
            logits = logits / granite_scale
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits

    @property
    def _config(self) -> Any:
        return self.trunk.inner.config.get_text_config()

    @property
    def _cap(self) -> float | None:
        """What Gemma's logits are held within by a tanh."""
        return getattr(self._config, "final_logit_softcapping", None)

    def _head_is_known(self) -> bool:
        """Whether `_logits` gives the model's own logits; else its whole forward is used."""
        inner = self.trunk.inner
        training = inner.training
        inner.eval()
        packed = self.pack([group_tree([1, 2, 3], [[4, 5]])])
        with torch.no_grad():
            theirs = inner(**self.trunk.inputs(packed)).logits.flatten(0, 1).float()
            ours = within(self.model, lambda: self._logits(self.trunk(packed))).float()
        inner.train(training)
        if torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
            return True
        logger.warning(
            "%s changes its logits in a way not known here: all logits are kept",
            type(inner).__name__,
        )
        return False


def chunk_size(device: str, vocabulary: int) -> int:
    """Return the response tokens whose logits exist at one time.

    Example: of 128,256 float32 logits a token, a gibibyte holds 2,092 tokens.
        >>> chunk_size("cuda", 128_256), chunk_size("cpu", 128_256)
        (2092, 256)
    """
    if device == "cpu":
        return LOGITS_CHUNK
    return max(LOGITS_CHUNK, LOGITS_BYTES // (4 * vocabulary))


def are_kept(device: str, logits: float, bytes_of_each: int) -> bool:
    """Tell whether so many logits are kept for the backward pass, and not computed again in it."""
    return device == "cpu" and logits * bytes_of_each <= LOGITS_KEPT


Reading = Callable[[Tensor, Tensor], Tensor]
"""What is read of logits, given the tokens."""


def _tempered(read: Reading, temperature: float) -> Reading:
    """Return the reading of logits at a temperature."""
    if temperature == 1.0:
        return read
    return lambda logits, targets: read(logits / temperature, targets)


def _gather(logits: Tensor, targets: Tensor) -> Tensor:
    values: Tensor = _LogProbOfTarget.apply(logits, targets)  # type: ignore[no-untyped-call]
    return values


class _LogProbOfTarget(torch.autograd.Function):
    """log softmax(logits) of the targets, (tokens,), which keeps logits in the dtype they have.

    Its gradient by logit v is g · (1[v is the target] − softmax(logits)ᵥ). Torch's own keeps
    float32 logarithms of all of them, and fills as large a tensor with zeros to begin with.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logps = -F.cross_entropy(precise, targets, reduction="none")
        ctx.save_for_backward(logits, targets, logps)
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, targets, logps = ctx.saved_tensors
        of_logits = logits.softmax(-1).mul_(-gradient[:, None])
        # 1 − p from log p: where p is nearly 1, a rounded p would leave nothing of it.
        of_targets = -gradient * torch.expm1(logps)
        of_logits.scatter_(1, targets[:, None], of_targets[:, None].to(of_logits.dtype))
        return of_logits, None


def _gather_both(logits: Tensor, targets: Tensor) -> Tensor:
    logps = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    logps_of_targets = logps.gather(-1, targets[:, None])[:, 0]
    return torch.stack([logps_of_targets, (2 * logps).logsumexp(-1)], 1)


def _called(function: Callable[..., Tensor], *args: Any) -> Tensor:
    return function(*args)


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
