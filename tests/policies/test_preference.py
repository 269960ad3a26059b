"""Identities of weighted preference training on a tiny Llama in float64."""

import json
import math
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from preference_examples import EXACT, made, tiny
from process_groups import on_processes

from rewarddiff.errors import TrainingError, UserError
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.loop.schedule import batch_at, rate, share, steps_within, total_steps
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, with_adapter
from rewarddiff.policies.reference import with_reference
from rewarddiff.store import Store


def gradient(items: list[PreferenceItem], *, moved: bool = True) -> dict[str, torch.Tensor]:
    """Gradient of the summed loss with a policy a little away from its reference."""
    policy = LogProbs(tiny())
    items = with_reference(items, policy, EXACT, weights="tiny")
    if moved:
        torch.manual_seed(5)
        with torch.no_grad():
            for p in policy.parameters():
                p.add_(0.02 * torch.randn_like(p))
    Alignment(policy, DPO()).loss(policy, items).loss.backward()
    return {name: p.grad for name, p in policy.named_parameters()}


def weighted(items: list[PreferenceItem], c: float) -> list[PreferenceItem]:
    return [replace(item, coefficients=(c,) * len(item.comparisons)) for item in items]


def test_first_loss_is_ln_2_for_every_pair_even_with_attention_dropout() -> None:
    policy = LogProbs(tiny())
    policy.train()  # the state a trainer leaves it in; attention_dropout is 0.1
    items = with_reference(made(coefficient=1.0), policy, EXACT, weights="tiny")
    for item in items:
        output = Alignment(policy, DPO()).loss(policy, [item])
        assert output.loss.item() / len(item.comparisons) == pytest.approx(math.log(2), abs=1e-12)
        assert output.metrics["rewards/margins"][0] == pytest.approx(0, abs=1e-9)


def test_constant_coefficient_scales_the_gradient_and_zero_removes_it() -> None:
    one, four, none = (gradient(weighted(made(), c)) for c in (1.0, 4.0, 0.0))
    for name, g in one.items():
        assert torch.equal(four[name], 4 * g)  # a power of two: exact
        assert not none[name].any()
    assert any(g.abs().max() > 1e-6 for g in one.values())


def trained(
    output: Path, config: TrainConfig, items: list[PreferenceItem] | None = None
) -> dict[str, torch.Tensor]:
    policy = LogProbs(tiny())
    items = with_reference(made(24) if items is None else items, policy, config, weights="tiny")
    train(Alignment(policy, DPO()), items, output=output, config=config)
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=name)


def test_alpha_zero_is_the_unweighted_training_to_the_bit(tmp_path: Path) -> None:
    unweighted = [
        PreferenceItem(i.id, i.tree, i.comparisons, (1.0,) * len(i.comparisons)) for i in made(24)
    ]
    alpha_zero = [
        replace(i, coefficients=tuple(abs(c) ** 0 for c in i.coefficients)) for i in made(24)
    ]
    assert_same(
        trained(tmp_path / "a", EXACT, unweighted), trained(tmp_path / "b", EXACT, alpha_zero), 0
    )


def sgd_gradients(output: Path, config: TrainConfig) -> dict[str, torch.Tensor]:
    """The gradient of the loop's first step, caught as the optimizer sees it."""
    policy = LogProbs(tiny())
    items = with_reference(made(8), policy, config, weights="tiny")
    seen: dict[str, torch.Tensor] = {}
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: object, **kwargs: object) -> None:
        seen.update({n: p.grad.clone() for n, p in policy.named_parameters()})

    torch.optim.AdamW.step = step
    try:
        train(Alignment(policy, DPO()), items, output=output, config=replace(config, max_steps=1))
    finally:
        torch.optim.AdamW.step = original
    return seen


def test_one_batch_of_eight_or_many_micro_batches_give_the_same_gradient(tmp_path: Path) -> None:
    whole = sgd_gradients(tmp_path / "a", replace(EXACT, microbatch_tokens=10_000))
    cut = sgd_gradients(tmp_path / "b", replace(EXACT, microbatch_tokens=40))
    assert_same(whole, cut, 1e-7)  # norms and rotary angles are float32 inside Llama
    lines = [
        json.loads(x)
        for f in "ab"
        for x in (tmp_path / f / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], abs=1e-9)


def test_two_processes_give_the_same_gradient(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    alone = sgd_gradients(tmp_path / "alone", EXACT)
    code = """
import os
from pathlib import Path
from safetensors.torch import save_file
from test_preference import EXACT, sgd_gradients
g = sgd_gradients(Path("together"), EXACT)
if os.environ["RANK"] == "0":
    save_file({k: v.contiguous() for k, v in g.items()}, "together/gradient.safetensors")
"""
    ended = on_processes(tmp_path, code)
    assert [status for status, _ in ended] == [0, 0], ended
    together = tmp_path / "together"
    gradients = load_file(together / "gradient.safetensors")
    gradients = {k.removeprefix("module."): v for k, v in gradients.items()}
    for name, g in alone.items():
        if name in gradients:  # tied or shared tensors are kept once
            torch.testing.assert_close(gradients[name], g, rtol=1e-6, atol=1e-7)
    assert len(gradients) == len(alone)
    both = json.loads((together / "metrics.jsonl").read_text().splitlines()[0])
    one = json.loads((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines()[0])
    assert both["loss"] == pytest.approx(one["loss"], abs=1e-8)
    assert both["rewards/accuracies"] == pytest.approx(one["rewards/accuracies"])


def test_a_fault_of_one_process_stops_both(tmp_path: Path) -> None:
    # An infinite loss that sends no infinite gradient: only the process that saw it knows.
    code = """
import os
from dataclasses import replace
from pathlib import Path
from rewarddiff.forward import LogProbs
from rewarddiff.loop.train import train
from rewarddiff.policies.alignment import Alignment
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.reference import with_reference
from test_preference import EXACT, made, tiny
original = Alignment.loss
def broken(self, module, items):
    output = original(self, module, items)
    return replace(output, loss=output.loss + float("inf")) if os.environ["RANK"] == "1" else output
Alignment.loss = broken
policy = LogProbs(tiny())
items = with_reference(made(8), policy, EXACT, weights="tiny")
train(Alignment(policy, DPO()), items, output=Path("together"), config=EXACT)
"""
    for status, error in on_processes(tmp_path, code):
        assert status != 0
        assert re.search(
            r"TrainingError: training: loss inf on items .* stopped before the update", error
        )


def test_stop_and_resume_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(EXACT, epochs=2, schedule="cosine", warmup=0.2)
    straight = trained(tmp_path / "straight", config)
    original, calls = Alignment.loss, []

    def interrupting(
        self: Alignment, module: torch.nn.Module, items: list[PreferenceItem]
    ) -> LossOutput:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, module, items)

    monkeypatch.setattr(Alignment, "loss", interrupting)
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        trained(tmp_path / "stopped", config)
    monkeypatch.setattr(Alignment, "loss", original)
    assert (tmp_path / "stopped" / "checkpoint" / "state.json").exists()
    assert_same(trained(tmp_path / "stopped", config), straight, 0)
    steps = [
        json.loads(x)["step"]
        for x in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    config = replace(EXACT, batch_size=2, save_every=1)
    trained(tmp_path, config, made(4))
    assert (tmp_path / "checkpoint" / "state.json").exists()
    with pytest.raises(
        UserError, match=r"of another training \(lr 0\.001, now 0\.002\); remove it"
    ):
        trained(tmp_path, replace(config, lr=2e-3), made(4))


def test_a_non_finite_loss_stops_before_the_update(tmp_path: Path) -> None:
    policy = LogProbs(tiny())
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    items = with_reference(made(8), policy, EXACT, weights="tiny")
    # No item can be made so: what the loop itself looks at is tried here.
    object.__setattr__(items[3], "reference", (math.inf,) * len(items[3].reference))
    with pytest.raises(TrainingError, match="stopped before the update"):
        train(Alignment(policy, DPO()), items, output=tmp_path, config=EXACT)
    assert_same(before, dict(policy.named_parameters()), 0)


def test_the_reference_is_stored_and_not_computed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = LogProbs(tiny())
    with Store(tmp_path / "store.sqlite") as store:
        first = with_reference(made(), policy, EXACT, weights="a", store=store)
        monkeypatch.setattr(LogProbs, "forward", lambda *_: pytest.fail("computed again"))
        assert with_reference(made(), policy, EXACT, weights="a", store=store) == first
        with pytest.raises(pytest.fail.Exception):
            with_reference(made(), policy, EXACT, weights="other weights", store=store)


def test_lora_reference_is_the_model_without_its_adapter() -> None:
    model = tiny()
    bare = with_reference(made(), LogProbs(model), EXACT, weights="x")
    policy = LogProbs(with_adapter(model, PolicyConfig(lora=LoraConfig(r=4), train=EXACT)))
    assert not policy.trunk.plain
    trainable = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in n for n in trainable)
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.normal_()
    for a, b in zip(bare, with_reference(made(), policy, EXACT, weights="x"), strict=True):
        assert a.reference == pytest.approx(b.reference, abs=1e-9)
    moved = Alignment(policy, DPO()).loss(policy, bare).loss.item() / sum(
        len(i.comparisons) for i in bare
    )
    assert abs(moved - math.log(2)) > 1e-4


def test_gradient_checkpointing_trains_the_same(tmp_path: Path) -> None:
    plain, saved = (
        trained(tmp_path / "a", EXACT),
        trained(tmp_path / "b", replace(EXACT, gradient_checkpointing=True)),
    )
    assert_same(plain, saved, 1e-5)


def test_schedule() -> None:
    config = TrainConfig(batch_size=4, epochs=1.5, warmup=0.25, schedule="linear")
    # 10 items in batches of 4: 3 steps an epoch, 4.5 → 5 steps; 25 % of 5 → 2 warm-up steps
    assert total_steps(10, config) == 5
    # steps of 40, 40 and 20 tokens an epoch: 100 tokens are three steps, 99 are two
    sizes, budget = [10] * 10, replace(config, max_tokens=100)
    assert steps_within(sizes, config, 0) == 5
    assert steps_within(sizes, budget, 0) == 3
    assert steps_within(sizes, replace(budget, max_tokens=99), 0) == 2
    assert steps_within(sizes, replace(budget, max_tokens=1), 0) == 1
    assert [rate(s, 5, config) for s in range(5)] == pytest.approx([1 / 2, 1, 1, 2 / 3, 1 / 3])
    batches = [batch_at(10, s, config, seed=3) for s in range(3)]
    assert sorted(i for b in batches for i in b) == list(range(10))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert batch_at(10, 3, config, seed=3) != batches[0]
    # longest first to the lightest: 9 | 5 4 | then 2 goes to either side of 9 = 9
    assert share([0, 1, 2, 3], [4, 9, 2, 5], 2) == [[1, 2], [3, 0]]
