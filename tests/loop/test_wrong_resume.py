"""What a checkpoint is of: whatever else is trained is refused, with a line that names what is another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from preference_examples import tiny
from torch import Tensor, nn

from rewarddiff.errors import UserError
from rewarddiff.loop import identity
from rewarddiff.loop import train as loop
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.loop.origin import origin
from rewarddiff.loop.train import train

CONFIG = TrainConfig(
    precision="fp32", lr=0.05, batch_size=2, max_steps=4, save_every=1, eval_every=2
)


@dataclass(frozen=True)
class Row:
    """Many numbers, whose text form leaves most of them out."""

    id: str
    x: Tensor


@dataclass(frozen=True)
class Options:
    power: float = 2.0


def rows(count: int = 8, last: float = 0.5) -> list[Row]:
    made_rows = [Row(f"r{i}", torch.linspace(0, 1, 2000) + i) for i in range(count)]
    made_rows[-1].x[1000] = last
    return made_rows


class Means:
    """Brings what a layer makes of means to 1, by a power that it is told."""

    def __init__(
        self,
        options: Options | None = None,
        besides: dict[str, Any] | None = None,
        act: Any = nn.Tanh,
    ) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(1, 4), act(), nn.Linear(4, 1))
        self.config = options or Options()
        if besides is not None:
            self.besides = besides

    def size(self, item: Row) -> int:
        return 10

    def count(self, item: Row) -> float:
        return 1

    def loss(self, module: nn.Module, items: Sequence[Row]) -> LossOutput:
        means = torch.stack([item.x.mean() for item in items])
        off = module(means[:, None])[:, 0] - 1
        return LossOutput(off.abs().pow(self.config.power).sum())

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": config.lr}]


class Untold(Means):
    """The same without a `config`."""

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.options = self.config
        del self.config
        self.power = power

    def loss(self, module: nn.Module, items: Sequence[Row]) -> LossOutput:
        self.config = Options(self.power)
        output = super().loss(module, items)
        del self.config
        return output


class Stop(BaseException):
    pass


def stopped(folder: Path, objective: Any = None, **options: Any) -> None:
    """Train until the third update."""
    run = loop._Run
    update, calls = run._update, []

    def stopping(self: Any, *args: Any) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return update(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_update", stopping)
        with pytest.raises(Stop):
            go_on(folder, objective, **options)


def go_on(
    folder: Path,
    objective: Any = None,
    items: Sequence[Row] | None = None,
    dev: Sequence[Row] | None = None,
    config: TrainConfig = CONFIG,
    seed: int = 0,
) -> list[float]:
    objective = objective or Means()
    items = rows() if items is None else items
    dev = rows(2) if dev is None else dev
    train(objective, items, dev=dev, output=folder, config=config, seed=seed)
    return [
        number for weight in objective.module.parameters() for number in weight.flatten().tolist()
    ]


def test_the_same_goes_on(tmp_path: Path) -> None:
    stopped(tmp_path / "stopped", Means(besides={"of": "x"}))
    assert go_on(tmp_path / "stopped", Means(besides={"of": "x"})) == go_on(tmp_path / "straight")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"config": replace(CONFIG, lr=0.1)}, "lr 0.05, now 0.1"),
        ({"config": replace(CONFIG, dropout=True)}, "dropout False, now True"),
        ({"seed": 1}, "seed 0, now 1"),
        ({"items": rows(last=0.75)}, "other rows"),
        ({"items": rows()[::-1]}, "other rows"),
        ({"dev": rows(3)}, "other rows of the dev set"),
        ({"objective": Means(Options(3.0))}, "options.power 2.0, now 3.0"),
        ({"objective": Means(besides={"rewards": "b"})}, "other rewards"),
        ({"objective": Means(act=nn.ReLU)}, "other weights or another model to start from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_another_is_named(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    stopped(tmp_path, Means(besides={"rewards": "a"}))
    options = {"objective": Means(besides={"rewards": "a"}), **options}
    with pytest.raises(UserError, match=r"is of another training \((.*)\); remove it") as refused:
        go_on(tmp_path, **options)
    assert says in str(refused.value)


def test_an_objective_without_a_config_is_told_by_its_attributes(tmp_path: Path) -> None:
    stopped(tmp_path, Untold())
    with pytest.raises(UserError, match=r"options.power 2.0, now 3.0"):
        go_on(tmp_path, Untold(3.0))
    assert go_on(tmp_path, Untold()) == go_on(tmp_path / "straight")


def test_code_of_the_users_own_is_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)

    def other_loss(self: Any, module: nn.Module, items: Sequence[Row]) -> LossOutput:
        means = torch.stack([item.x.mean() for item in items])
        return LossOutput((module(means[:, None])[:, 0] - 2).abs().sum())

    monkeypatch.setattr(Means, "loss", other_loss)
    with pytest.raises(UserError, match=r"\(other code\)"):
        go_on(tmp_path)


@pytest.mark.parametrize(
    ("place", "name"), [(torch, "torch"), (transformers, "transformers"), (identity, "version")]
)
def test_versions_are_part_of_it(
    place: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)
    monkeypatch.setattr(place, "__version__", "9.9.9")
    with pytest.raises(UserError, match=rf"{name} .*, now 9\.9\.9"):
        go_on(tmp_path)


def test_so_is_that_of_what_the_loop_stands_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)
    monkeypatch.setattr(identity.metadata, "version", lambda name: "9.9.9")
    with pytest.raises(UserError, match=r"accelerate .*, now 9\.9\.9"):
        go_on(tmp_path)


def test_and_that_of_what_layers_and_the_optimizer_come_from() -> None:
    from peft import LoraConfig, get_peft_model  # its import makes another module of transformers

    adapted = get_peft_model(tiny(), LoraConfig(r=2, target_modules=["q_proj"]))
    quantised = replace(CONFIG, optimizer="adamw_8bit")
    assert "peft" in identity._libraries(adapted, CONFIG) - identity._libraries(tiny(), CONFIG)
    assert "bitsandbytes" in identity._libraries(tiny(), quantised) - identity._libraries(
        tiny(), CONFIG
    )


def test_with_dropout_so_is_the_number_of_processes(tmp_path: Path) -> None:
    """Each draws what it drops."""
    config = replace(CONFIG, dropout=True)
    stopped(tmp_path, config=config)
    state = tmp_path / "checkpoint" / "state.json"
    assert '"processes": 1' in state.read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.config, "rms_norm_eps", 0.5),
        lambda model: model.config.rope_parameters.update(rope_theta=500.0),
        lambda model: setattr(model.model.layers[0].mlp, "act_fn", nn.ReLU()),
        lambda model: swap_rows(model.get_input_embeddings().weight, 3, 4),
    ],
    ids=["a setting", "a setting in a setting", "a layer", "two rows of a weight"],
)
def test_the_origin_is_also_how_weights_are_used_and_where_they_stand(
    change: Callable[[Any], object],
) -> None:
    model = tiny()
    before = origin(model)
    assert origin(copy.deepcopy(model)) == before
    with torch.no_grad():
        change(model)
    assert origin(model) != before


def swap_rows(weight: Tensor, one: int, other: int) -> None:
    weight[[one, other]] = weight[[other, one]]
