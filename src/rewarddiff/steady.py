"""Numbers that do not depend on what else is read at the same time.

A product of few rows is computed by other kernels than one of many, in another order, and so its last
bits differ: a response scored by itself would get another reward than in a batch. `steady()` fills
up the rows of every product, so that one kernel computes them all. Likewise some activations
compute what fills no vector register, at the end of a tensor or of a thread's share of it, by other
code than the rest: they are made of `exp` and `tanh`, which do not. On a CPU a row's numbers are then
the same bits, whichever rows stand beside it; elsewhere nothing is changed.

Source: the kernels' behaviour is not promised by anyone; `tests/test_steady.py` asks for it on the
machine it runs on. The idea is that of batch-invariant kernels (Thinking Machines 2025, "Defeating
Nondeterminism in LLM Inference"), by padding in place of new kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROWS = 16
"""Products have a multiple of so many rows: kernels for fewer rows add up in another order."""

_active: ContextVar[bool] = ContextVar("steady", default=False)
"""Whether functions are steady: of each thread by itself, as torch's modes are."""


def steady(device: torch.device) -> AbstractContextManager[object]:
    """Make products and activations on this device steady in the block; off the CPU, do nothing."""
    return _SteadyFunctions() if device.type == "cpu" else nullcontext()


def is_steady() -> bool:
    """Tell whether products and activations are steady now."""
    return _active.get()


class _SteadyFunctions(TorchFunctionMode):
    """Does what `STEADY` lists instead of torch's own functions."""

    def __enter__(self) -> Self:
        self._before = _active.set(True)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        _active.reset(self._before)
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        chosen: Callable[..., Any] = STEADY.get(function, function)
        return chosen(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    columns, width = weight.shape
    flat = input.reshape(-1, width)
    # One column alone is a product with a vector, which has kernels of its own.
    if bias is not None:
        bias = _filled(bias, 0)
    product = F.linear(_filled(flat, 0), _filled(weight, 0), bias)
    return product[: len(flat), :columns].reshape(*input.shape[:-1], columns)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **kwargs: Any,
) -> Tensor:
    queries = query.shape[-2]
    keys = key.shape[-2]
    if queries % ROWS == 0 and keys % ROWS == 0:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, **kwargs
        )
    # A causal pattern hides added keys from all but added queries; elsewhere a mask has to.
    if not is_causal:
        attn_mask = _filled_mask(attn_mask, query, keys)
    output = F.scaled_dot_product_attention(
        _filled(query, -2),
        _filled(key, -2),
        _filled(value, -2),
        attn_mask,
        dropout_p,
        is_causal,
        **kwargs,
    )
    return output[..., :queries, :]


def _silu(input: Tensor, inplace: bool = False) -> Tensor:
    return _in_float32(lambda x: x / (1 + torch.exp(-x)), input)


def _sigmoid(input: Tensor) -> Tensor:
    return _in_float32(lambda x: 1 / (1 + torch.exp(-x)), input)


def _gelu(input: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "none":
        return F.gelu(input)
    return _in_float32(_gelu_by_tanh, input)


def _gelu_by_tanh(x: Tensor) -> Tensor:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1 + torch.tanh(inner))


def _in_float32(function: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """Apply a function in float32 or float64: shorter numbers would be rounded at each step."""
    precision = torch.promote_types(input.dtype, torch.float32)
    return function(input.to(precision)).to(input.dtype)


STEADY: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.linear: _linear,
    F.scaled_dot_product_attention: _attention,
    F.silu: _silu,
    F.gelu: _gelu,
    torch.sigmoid: _sigmoid,
    Tensor.sigmoid: _sigmoid,
}
"""What is done instead of torch's functions whose last bits depend on more than a row."""


def _filled_mask(mask: Tensor | None, query: Tensor, keys: int) -> Tensor:
    """Return a mask, additive or of booleans, in which no query reads a key that is added."""
    if mask is None:
        mask = query.new_zeros(1, 1, query.shape[-2], keys)
    hidden: float = 0 if mask.dtype == torch.bool else -torch.inf
    rows = mask.expand(*mask.shape[:-2], query.shape[-2], keys)
    added = -keys % ROWS
    columns = F.pad(rows, (0, added), value=hidden)
    # Queries that are added read what is there, so that no row is empty.
    return F.pad(columns, (0, 0, 0, -query.shape[-2] % ROWS), value=float(mask.dtype == torch.bool))


def _filled(tensor: Tensor, dim: int, fill: float = 0) -> Tensor:
    """Return the tensor with its size along a dimension filled up to a multiple of `ROWS`."""
    missing = -tensor.shape[dim] % ROWS
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_full(shape, fill)], dim)
