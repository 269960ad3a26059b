"""Optimizers that take less memory: which is made, what an update is, and that a training goes on exactly."""

from __future__ import annotations

import itertools
import json
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_examples import made, tiny
from safetensors.torch import load_file
from torch import nn

from rewarddiff import machine
from rewarddiff.errors import UserError
from rewarddiff.loop import checkpoint, optimizers
from rewarddiff.loop.objective import LossOutput, TrainConfig, one_group
from rewarddiff.loop.optimizers import RoundedAdamW, check_optimizer, hold, optimizer_for
from rewarddiff.loop.train import train
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, train_policy

HAS_BNB = find_spec("bitsandbytes") is not None
NEEDS_BNB = pytest.mark.skipif(not HAS_BNB, reason="bitsandbytes is not installed")
CONFIG = TrainConfig(
    lr=3e-3, epochs=10, batch_size=8, schedule="constant", warmup=0.0, eval_every=None
)
LESS_MEMORY = [
    pytest.param({"weights": "bf16"}, id="bf16"),
    pytest.param({"weights": "bf16-master"}, id="bf16-master"),
    pytest.param({"optimizer": "adamw_8bit"}, id="8bit", marks=NEEDS_BNB),
    pytest.param(
        {"optimizer": "adamw_8bit", "weights": "bf16"}, id="8bit of bf16", marks=NEEDS_BNB
    ),
]


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


@dataclass(frozen=True)
class Word:
    """A number of an embedding, and what is to be said of it."""

    id: str
    place: int
    value: float


WORDS = [Word(f"w{i}", i, math.sin(i)) for i in range(64)]


class Sines:
    """Least squares on an embedding and a layer, each large enough to be quantised, with a head."""

    config = None  # a checkpoint of it need not know who reads along

    def __init__(self, read: Callable[[Any], None] = lambda _: None) -> None:
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Embedding(64, 64), nn.Linear(64, 96), nn.Tanh())
        self.head = nn.Linear(96, 1)
        self.module: nn.Module = nn.ModuleList([self.body, self.head])
        self.read = read

    def size(self, item: Word) -> int:
        return 1

    def count(self, item: Word) -> float:
        return 1

    def loss(self, module: nn.Module, items: Sequence[Word]) -> LossOutput:
        self.read(items)
        states = self.body(torch.tensor([word.place for word in items]))
        with torch.autocast("cpu", enabled=False):
            values = self.head(states.float())[:, 0]
        wanted = torch.tensor([word.value for word in items])
        return LossOutput((values - wanted).square().sum())

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [
            {"params": list(self.body.parameters()), "lr": config.lr},
            {"params": list(self.head.parameters()), "lr": config.lr},
        ]


def trained(
    output: Path, config: TrainConfig, goal: Sines | None = None
) -> tuple[list[torch.Tensor], list[float]]:
    """The weights after a training, and the loss of each step."""
    goal = goal or Sines()
    result = train(goal, WORDS, output=output, config=config)
    weights = [weight.detach().clone() for weight in goal.module.parameters()]
    return weights, [float(line["loss"]) for line in result.curve]


# --- weights in bfloat16 --------------------------------------------------------------------------


def updated(kind: str, gradient: float, steps: int, lr: float) -> torch.Tensor:
    """4096 weights of 1 after updates with a constant gradient, by an optimizer in float64 terms."""
    weight = nn.Parameter(torch.ones(4096))
    if kind != "float32":
        weight.data = weight.data.bfloat16()
    optimizer: Any = torch.optim.AdamW([weight], lr=lr, weight_decay=0.0)
    if kind == "by chance":
        optimizer = RoundedAdamW([{"params": [weight]}], lr=lr, weight_decay=0.0, seed=0)
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight.detach().double()


def test_updates_far_below_a_step_of_bfloat16_are_not_lost() -> None:
    # Below 1 bfloat16 has steps of 1/256. With a constant gradient AdamW moves by lr, here 1/400 of
    # a step: 100 updates are 1e-3, and rounded to the nearest none of them leaves 1.
    exact = updated("float32", 0.3, 100, 1e-5)
    assert exact.mean().item() == pytest.approx(1 - 1e-3, abs=3e-6)
    assert updated("to the nearest", 0.3, 100, 1e-5).mean().item() == 1.0
    rounded = updated("by chance", 0.3, 100, 1e-5)
    # A weight has left 1 with probability 1e-3·256 = 0.26: standard deviation 0.0017, of the mean 2.7e-5.
    assert rounded.mean().item() == pytest.approx(exact.mean().item(), abs=5 * 2.7e-5)
    steps_down = (1 - rounded) * 256
    assert torch.equal(steps_down, steps_down.round())


def random_steps(optimizer: Any, weights: Sequence[nn.Parameter], steps: int = 5) -> None:
    """Give gradients that bfloat16 has, and update."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for weight in weights:
            gradient = torch.randn(weight.shape, generator=draw).bfloat16()
            weight.grad = gradient.to(weight.dtype)
        optimizer.step()


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(3)
    return [nn.Parameter(torch.randn(7, 5).bfloat16().float()), nn.Parameter(torch.randn(300))]


@pytest.mark.parametrize("piece", [optimizers.PIECE, 64])
def test_masters_are_what_torch_trains_in_float32(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "PIECE", piece)  # weights are updated piece by piece
    exact = parameters()
    random_steps(torch.optim.AdamW(exact, lr=0.01, weight_decay=0.1), exact)
    held = parameters()
    hold(held[:1], replace(CONFIG, weights="bf16-master"))
    ours = RoundedAdamW([{"params": held}], lr=0.01, weight_decay=0.1, seed=0, keeps_masters=True)
    random_steps(ours, held)
    master = ours.state[held[0]]["master"].view(7, 5)
    torch.testing.assert_close(master, exact[0].detach(), rtol=1e-6, atol=1e-7)
    assert torch.equal(held[0].detach(), master.bfloat16())
    # What is float32, as a head, has no master and is updated itself.
    torch.testing.assert_close(held[1].detach(), exact[1].detach(), rtol=1e-6, atol=1e-7)


def test_moments_are_float32_and_stay_so_when_loaded() -> None:
    weights = parameters()
    hold(weights, replace(CONFIG, weights="bf16"))
    ours = RoundedAdamW([{"params": weights}], lr=0.01, weight_decay=0.0, seed=0)
    random_steps(ours, weights)
    other = RoundedAdamW([{"params": weights}], lr=0.01, weight_decay=0.0, seed=0)
    other.load_state_dict(ours.state_dict())
    for weight in weights:
        for name in ("exp_avg", "exp_avg_sq"):
            moment = other.state[weight][name]
            assert moment.dtype == torch.float32
            assert torch.equal(moment, ours.state[weight][name])
            assert not torch.equal(moment, moment.bfloat16().float())  # there was something to lose


def test_buffers_are_not_rounded() -> None:
    model: Any = tiny().float()
    before = model.model.rotary_emb.inv_freq.clone()
    hold(list(model.parameters()), replace(CONFIG, weights="bf16"))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.model.rotary_emb.inv_freq, before)


# --- trainings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", LESS_MEMORY)
def test_training_comes_near_float32s_loss(tmp_path: Path, settings: dict[str, Any]) -> None:
    _, exact = trained(tmp_path / "exact", CONFIG)
    weights, losses = trained(tmp_path / "less", replace(CONFIG, **settings))
    assert losses[0] > 0.3
    assert losses[-1] < 1.5 * exact[-1] + 0.01
    if settings.get("weights", "fp32") != "fp32":
        dtypes = [weight.dtype for weight in weights]
        assert dtypes == [torch.bfloat16] * 3 + [torch.float32] * 2  # the head's two


@pytest.mark.parametrize("settings", LESS_MEMORY)
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = replace(CONFIG, epochs=1, **settings)
    calls = itertools.count(1)

    def stop(_: Any) -> None:
        if next(calls) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", config, Sines(stop))
    resumed, _ = trained(tmp_path / "stopped", config)
    straight, losses = trained(tmp_path / "straight", config)
    assert len(losses) == 8
    for ours, theirs in zip(resumed, straight, strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_is_gone_on_with_in_smaller_passes(tmp_path: Path) -> None:
    def stop(_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    config = replace(CONFIG, precision="fp32", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", config, Sines(stop))
    resumed, _ = trained(tmp_path / "stopped", replace(config, microbatch_tokens=3))
    straight, _ = trained(tmp_path / "straight", config)
    for ours, theirs in zip(resumed, straight, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_policy_is_saved_in_bfloat16_and_begins_as_its_reference(tmp_path: Path) -> None:
    model: Any = tiny().float()
    settings = replace(CONFIG, epochs=1, batch_size=6, weights="bf16")  # read as its reference is
    train_policy(
        model, made(6, 1.0), PolicyConfig(DPO(), None, settings), output=tmp_path, weights="base"
    )
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # −log σ(0)
    model.save_pretrained(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


class Quantising(torch.optim.SGD):
    """State in the shapes of bitsandbytes: quantised moments, a scale that all weights share, nested."""

    SCALE = torch.linspace(-1, 1, 256)

    def begin(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                quantised = {
                    "state1": torch.arange(weight.numel()).to(torch.uint8).view_as(weight),
                    "qmap1": self.SCALE,
                    "absmax1": torch.rand(2),
                }
                self.state[weight] = {"step": 7, "quantised": quantised}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict["state"]  # torch would take the types of the weights


def test_state_of_any_type_and_shape_comes_back(tmp_path: Path) -> None:
    # 300 numbers beside a scale of 256: a tensor that has no row for each of its weight's.
    module = nn.ParameterDict({"long": torch.ones(300), "square": torch.ones(20, 20)})
    ours = Quantising(module.parameters(), lr=0.1)
    ours.begin()
    identity = {"lr": 0.1}
    checkpoint.save(tmp_path / "checkpoint", module, ours, {"identity": identity})
    other = Quantising(module.parameters(), lr=0.1)
    checkpoint.load(tmp_path / "checkpoint", module, other, identity)
    for place, weight in enumerate(module.parameters()):
        assert other.loaded[place]["step"] == 7
        for name, tensor in ours.state[weight]["quantised"].items():
            loaded = other.loaded[place]["quantised"][name]
            assert loaded.dtype == tensor.dtype
            assert torch.equal(loaded, tensor)


# --- which is made, and what is refused -----------------------------------------------------------


def test_the_default_is_torchs_fused_adamw() -> None:
    module = nn.Linear(2, 2)
    config = TrainConfig(lr=0.5, weight_decay=0.25)
    made_of: Any = optimizer_for(module, one_group(module, config), config, 0)
    assert type(made_of) is torch.optim.AdamW
    group = made_of.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.5, 0.25, True)


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_a_missing_package_is_told_before_anything_is_read(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise AssertionError("something was read")

    monkeypatch.setattr(optimizers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'rewarddiff\[bnb\]'") as error:
        trained(tmp_path, replace(CONFIG, optimizer=name), Sines(refuse))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["paged_adamw", "paged_adamw_8bit"])
def test_nothing_is_paged_without_a_gpu(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "find_spec", lambda _: True)
    with pytest.raises(UserError, match="there is no GPU here: use adamw_8bit or adamw"):
        check_optimizer(replace(CONFIG, optimizer=name))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "bf16", "precision": "fp32"}, "set precision to bf16"),
        ({"weights": "bf16-master", "optimizer": "adamw_8bit"}, "set weights to bf16"),
        ({"weights": "bf16", "sharding": "fsdp"}, "leave out optimizer and weights"),
        ({"optimizer": "adamw_8bit", "sharding": "fsdp"}, "leave out optimizer and weights"),
        ({"microbatch_tokens": 0}, "at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_weights_are_of_a_training_of_all_of_them() -> None:
    with pytest.raises(ValueError, match=r"train\.weights is for training all weights"):
        PolicyConfig(lora=LoraConfig(), train=TrainConfig(weights="bf16"))


# --- bitsandbytes, where it is installed ----------------------------------------------------------


@NEEDS_BNB
def test_bitsandbytes_in_32_bits_is_torchs_adamw() -> None:
    from rewarddiff.loop.quantised import quantised_adamw

    exact = [nn.Parameter(torch.randn(70, 70, generator=torch.Generator().manual_seed(0)))]
    ours = [nn.Parameter(exact[0].detach().clone())]
    random_steps(torch.optim.AdamW(exact, lr=0.01, weight_decay=0.1), exact)
    optimizer = quantised_adamw([{"params": ours}], lr=0.01, weight_decay=0.1, eight_bits=False)
    random_steps(optimizer, ours)
    torch.testing.assert_close(ours[0], exact[0], rtol=1e-5, atol=1e-6)


@NEEDS_BNB
def test_moments_are_bytes_but_for_embeddings_and_small_weights() -> None:
    goal = Sines()
    config = replace(CONFIG, optimizer="adamw_8bit")
    check_optimizer(config)
    optimizer = optimizer_for(goal.module, goal.parameter_groups(config), config, 0)
    random_steps(optimizer, list(goal.module.parameters()), 1)
    dtypes = [optimizer.state[weight]["state1"].dtype for weight in goal.module.parameters()]
    # Embedding, layer and its bias, head and its bias.
    full, quantised = torch.float32, torch.uint8
    assert dtypes == [full, quantised, full, full, full]


@NEEDS_BNB
def test_eight_bits_of_bfloat16_lose_no_small_updates() -> None:
    from rewarddiff.loop.quantised import quantised_adamw

    weight = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimizer = quantised_adamw([{"params": [weight]}], lr=1e-5, eight_bits=True)
    for _ in range(100):
        weight.grad = torch.full_like(weight, 0.3)
        optimizer.step()
    assert weight.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.bfloat16
    # As in float32 above; quantised moments are 2 % off at most.
    assert weight.double().mean().item() == pytest.approx(1 - 1e-3, abs=5 * 2.7e-5 + 2e-5)


@NEEDS_BNB
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_paged_moments_come_back() -> None:
    from rewarddiff.loop.quantised import quantised_adamw

    def optimizer(weights: list[nn.Parameter]) -> Any:
        return quantised_adamw([{"params": weights}], lr=0.01, eight_bits=True, paged=True)

    weights = [nn.Parameter(torch.ones(70, 70))]
    ours = optimizer(weights)
    random_steps(ours, weights)
    other = optimizer(weights)
    other.load_state_dict(ours.state_dict())
    for name, value in ours.state[weights[0]].items():
        assert torch.equal(torch.as_tensor(other.state[weights[0]][name]), torch.as_tensor(value))
