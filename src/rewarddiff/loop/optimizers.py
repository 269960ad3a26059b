"""The optimizer of a training: AdamW, with its moments and the weights in fewer bits where asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.adamw import adamw

from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.rounding import generator, stochastically

PIECE = 1 << 24
"""Numbers of a weight that are updated at one time: their copies in float32 take memory."""


def optimizer_for(
    module: nn.Module, groups: list[dict[str, Any]], config: TrainConfig, seed: int
) -> Optimizer:
    """Return the optimizer that a configuration asks for.

    Args:
        module: what is trained.
        groups: its parameters, with their rates; see `hold`.
        seed: decides how weights in bfloat16 are rounded.
    """
    if config.optimizer != "adamw":
        from rewarddiff.loop.quantised import quantised_adamw

        return quantised_adamw(
            groups,
            lr=config.lr,
            weight_decay=config.weight_decay,
            eight_bits=config.optimizer.endswith("8bit"),
            paged=config.optimizer.startswith("paged"),
            in_full=embeddings(module),
            seed=seed,
        )
    if config.weights != "fp32":
        keeps_masters = config.weights == "bf16-master"
        return RoundedAdamW(
            groups,
            lr=config.lr,
            weight_decay=config.weight_decay,
            seed=seed,
            keeps_masters=keeps_masters,
        )
    return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def check_optimizer(config: TrainConfig) -> None:
    """Raise a UserError unless the optimizer that a configuration asks for works here."""
    name = config.optimizer
    if name == "adamw":
        return
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"train.optimizer: {name} is bitsandbytes', which is not installed: "
            "pip install 'rewarddiff[bnb]', or leave it out"
        )
    if name.startswith("paged") and not torch.cuda.is_available():
        raise UserError(
            f"train.optimizer: {name} moves moments between a GPU and host memory, and there is no "
            "GPU here: use adamw_8bit or adamw"
        )
    failure = _failure_on("cuda" if torch.cuda.is_available() else "cpu")
    if failure:
        raise UserError(
            f"train.optimizer: {name}: the installed bitsandbytes does not work here ({failure}): "
            "install a release for this machine, or use adamw"
        )


@cache
def _failure_on(device: str) -> str:
    """Return why bitsandbytes makes no step on a device; nothing where it does. It is tried once."""
    from rewarddiff.loop.quantised import quantised_adamw

    weight = nn.Parameter(torch.ones(4096, device=device))  # the smallest that it quantises
    weight.grad = torch.ones_like(weight)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = quantised_adamw([{"params": [weight]}], lr=0.5, eight_bits=True)
            optimizer.step()
    except Exception as error:  # whatever foreign kernels raise means: they cannot
        first_line, *_ = [*str(error).splitlines(), ""]
        return f"{type(error).__name__}: {first_line}"
    # AdamW's first step is the rate itself.
    off_by = float((weight.detach() - 0.5).abs().max())
    return "" if off_by < 0.05 else f"its first step is off by {off_by:.1e}"


def embeddings(module: nn.Module) -> list[Tensor]:
    """Return the tables of embeddings, whose moments are kept in full.

    Source: Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", arXiv 2110.02861,
    section 2.3; transformers' trainer does the same.
    """
    tables = []
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            tables.append(part.weight)
    return tables


def state_bytes(optimizer: str, weights: str) -> float:
    """Return the bytes that an optimizer keeps of each weight, by the names of a TrainConfig.

    >>> state_bytes("adamw", "fp32"), state_bytes("adamw", "bf16-master")
    (8.0, 12.0)
    """
    if optimizer.endswith("8bit"):
        return 2 + 8 / 256  # two moments, and of each a scale in float32 for 256 numbers
    return 12.0 if weights == "bf16-master" else 8.0


# --- weights in bfloat16 --------------------------------------------------------------------------


def hold(weights: Sequence[nn.Parameter], config: TrainConfig) -> None:
    """Hold weights in the type that a configuration asks for, in place."""
    if config.weights != "fp32":
        narrow(weight for weight in weights if weight.dtype == torch.float32)


def narrow(weights: Iterable[nn.Parameter]) -> None:
    """Hold weights in bfloat16, in place.

    A model's buffers are not among them: frequencies of positions are no numbers to round.
    """
    for weight in weights:
        weight.data = weight.data.to(torch.bfloat16, memory_format=torch.contiguous_format)


def widen(module: nn.Module) -> None:
    """Hold weights in float32 again, in place: each is a number that bfloat16 has."""
    for weight in module.parameters():
        if weight.dtype == torch.bfloat16:
            weight.data = weight.data.float()


class RoundedAdamW(Optimizer):
    """AdamW for weights in bfloat16: each update is made in float32 and rounded by chance.

    Moments are float32. Weights in another type, as a head's, are updated as they are. What is
    drawn is determined by the seed, the weight and the step, so that a training goes on to the bit,
    and that processes with the same weights keep the same weights.

    Args:
        groups: parameters with their rates.
        keeps_masters: keep the weights in float32 beside, and round to the nearest: nothing is drawn.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101, by torch's own function; Zamirai et al. 2020,
    arXiv 2010.06192, for stochastic rounding of weights; Micikevicius et al. 2018, arXiv 1710.03740,
    for a master copy of them.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        seed: int,
        keeps_masters: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay}
        super().__init__(groups, defaults)
        self.seed = seed
        self.keeps_masters = keeps_masters

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update of every weight that has a gradient."""
        assert closure is None
        for place, (weight, group) in enumerate(self._weights()):
            if weight.grad is not None:
                self._update(weight, group, place)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, in the types it was given in: torch would take the weights'."""
        super().load_state_dict(state_dict)
        for place, (weight, _) in enumerate(self._weights()):
            for name, value in state_dict["state"].get(place, {}).items():
                if isinstance(value, Tensor):
                    self.state[weight][name] = value.to(weight.device)

    def _weights(self) -> Iterator[tuple[nn.Parameter, dict[str, Any]]]:
        for group in self.param_groups:
            for weight in group["params"]:
                yield weight, group

    def _update(self, weight: nn.Parameter, group: dict[str, Any], place: int) -> None:
        state = self.state[weight]
        if not state:
            self._begin(weight)
        draw = generator(weight.device, self.seed, place, state["step"])
        flat = weight.view(-1)
        gradient = weight.grad.reshape(-1)  # type: ignore[union-attr]
        beta1, beta2 = group["betas"]
        for start in range(0, len(flat), PIECE):
            piece = slice(start, start + PIECE)
            held = flat[piece]
            # Of a weight in float32 this is the weight itself.
            exact = state["master"][piece] if "master" in state else held.float()
            adamw(
                [exact],
                [gradient[piece].float()],
                [state["exp_avg"][piece]],
                [state["exp_avg_sq"][piece]],
                [],
                [torch.full((), float(state["step"]), device=weight.device)],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )
            if "master" in state:
                held.copy_(exact)
            elif held.dtype != torch.float32:
                held.copy_(stochastically(exact, draw))
        state["step"] += 1

    def _begin(self, weight: nn.Parameter) -> None:
        """Make the moments of a weight, flat, and its copy in float32 where one is kept."""
        moments = torch.zeros(weight.numel(), dtype=torch.float32, device=weight.device)
        state = self.state[weight]
        state["step"] = 0
        state["exp_avg"] = moments
        state["exp_avg_sq"] = torch.zeros_like(moments)
        if self.keeps_masters and weight.dtype != torch.float32:
            state["master"] = weight.view(-1).float()
