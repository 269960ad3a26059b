"""Shapes, work and memory of plans, against what torch and peft count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, LlamaConfig, MixtralConfig

from rewarddiff import models
from rewarddiff.footprint import memory
from rewarddiff.footprint.memory import Pass, Way
from rewarddiff.footprint.shapes import Shape, shape_of, shape_of_loaded
from rewarddiff.forward import LogProbs, Trunk, logprobs, node_sums, switch_dropout_off
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.optimizers import hold
from rewarddiff.pipeline.planning import work
from rewarddiff.pipeline.planning.amounts import Amount, attended_in, schedule
from rewarddiff.pipeline.planning.costs import way_of
from rewarddiff.pipeline.planning.fitting import Training, mend, refusal
from rewarddiff.pipeline.planning.machines import Device
from rewarddiff.pipeline.planning.work import Tokens
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, with_adapter
from rewarddiff.trees import Tree, group_tree

CPU = Device("a processor", 2e9)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of widths that no coefficient was fitted on."""
    config = LlamaConfig(
        vocab_size=300, hidden_size=80, intermediate_size=224, num_hidden_layers=5,
        num_attention_heads=5, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("plan") / "llama"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = BertConfig(
        vocab_size=300, hidden_size=80, intermediate_size=224, num_hidden_layers=3,
        num_attention_heads=5,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("plan") / "bert"
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def trees() -> list[Tree]:
    return [group_tree(list(range(12)), [list(range(20)), list(range(16))]) for _ in range(8)]


# --- shapes ---------------------------------------------------------------------------------------


def test_a_shape_counts_the_weights_of_a_decoder(policy_folder: Path) -> None:
    shape = shape_of(str(policy_folder))
    model, _ = models.load_causal_lm(policy_folder)
    assert shape.weights == sum(weight.numel() for weight in model.parameters())
    # A layer of width 32 with 4 heads, 2 for keys: q and o 32·32, k and v 32·16, and 3·32·48.
    assert shape.products == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert (shape.queries, shape.keys, shape.layers, shape.encoder) == (32, 16, 2, False)


def test_a_model_with_a_width_for_each_layer_is_as_wide_as_its_widest(policy_folder: Path) -> None:
    """As Gemma 3n has them."""
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    object.__setattr__(model.config, "intermediate_size", [16, 48])  # whose type is not looked at
    shape = shape_of_loaded(model, encoder=False)
    assert shape is not None
    assert shape.intermediate == 48


def test_a_shape_of_an_encoder_reads_both_ways(encoder_folder: Path) -> None:
    shape = shape_of(str(encoder_folder))
    assert shape.encoder
    # Four projections of width 32, two of 32·48; BERT's pooler is one more of 32·32.
    assert shape.products == 2 * (4 * 32 * 32 + 2 * 32 * 48) + 32 * 32


def test_only_the_experts_that_a_token_is_sent_to_count(tmp_path: Path) -> None:
    config = MixtralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    # Attention 4·32·32, the router 32·8, and two of eight experts of 3·32·48.
    assert shape_of(str(tmp_path)).products == 4 * 32 * 32 + 32 * 8 + 2 * 3 * 32 * 48


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_adapters_are_counted_as_peft_makes_them(llama: Path, targets: Any) -> None:
    lora = LoraConfig(r=4, targets=targets)
    model = AutoModelForCausalLM.from_pretrained(llama)
    adapted = with_adapter(model, PolicyConfig(lora=lora))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert shape_of(str(llama)).adapters(lora) == trained


# --- work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)])
def test_the_work_of_training_is_what_torch_counts(
    llama: Path, lora: LoraConfig | None, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "LOGITS_KEPT", 2**28 if kept else 0)
    model = AutoModelForCausalLM.from_pretrained(llama)
    config = PolicyConfig(lora=lora, train=TrainConfig(precision="fp32"))
    policy = LogProbs(with_adapter(model, config))
    packed = policy.pack(trees())
    with FlopCounterMode(display=False) as counter:
        node_sums(packed, policy(packed)).sum().backward()
    shape = shape_of(str(llama))
    adapters = None if lora is None else shape.adapters(lora)
    tokens = Tokens(packed.size, len(packed.targets))  # torch counts no attention on a CPU
    planned = work.training(shape, tokens, adapters=adapters, logits_kept=kept)
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_what_is_attended_to_is_what_a_mask_lets_through() -> None:
    tree = group_tree(list(range(30)), [list(range(50)), list(range(40))])
    seen = 0
    for node in tree.nodes:
        above = 30 if node.parent == 0 else 0
        seen += sum(above + place + 1 for place in range(len(node.tokens)))
    # Counted with the token itself, where a plan takes half of it.
    assert attended_in(tree) == seen - len(tree) / 2


def test_checkpointed_layers_are_computed_once_more(llama: Path) -> None:
    shape, tokens = shape_of(str(llama)), Tokens(100)
    plain = work.training(shape, tokens)
    assert work.training(shape, tokens, checkpointing=True) == pytest.approx(plain * 4 / 3)


# --- memory ---------------------------------------------------------------------------------------


def saved_by(forward: Callable[[], Any], module: nn.Module) -> int:
    """Return the bytes that autograd keeps of a forward pass, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _held = forward()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)])
def test_activations_of_a_decoder(llama: Path, precision: Any, lora: LoraConfig | None) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    train = TrainConfig(precision=precision)
    trunk = Trunk(with_adapter(model, PolicyConfig(lora=lora, train=train)))
    switch_dropout_off(trunk)
    packed = trunk.pack(trees())

    def forward() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return trunk(packed)

    shape = shape_of(str(llama))
    measured = saved_by(forward, trunk)
    if precision == "bf16" and lora is None:
        measured -= 2 * shape.products  # copies of weights, which plans count as weights
    way = way_of(shape, train, lora, CPU)
    planned = memory.activations(shape, Pass(packed.size), way)
    assert planned == pytest.approx(measured, rel=0.1)


def test_activations_under_weights_in_bfloat16(llama: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    train = TrainConfig(weights="bf16")
    hold(list(model.parameters()), train)
    trunk = Trunk(model)
    switch_dropout_off(trunk)
    packed = trunk.pack(trees())

    def forward() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return trunk(packed)

    shape = shape_of(str(llama))
    way = way_of(shape, train, None, CPU)
    planned = memory.activations(shape, Pass(packed.size), way)
    assert planned == pytest.approx(saved_by(forward, trunk), rel=0.1)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_activations_of_an_encoder(bert: Path, precision: Any) -> None:
    model = AutoModel.from_pretrained(bert, attn_implementation="sdpa").eval()
    if precision == "bf16":
        model.set_attn_implementation("eager")  # as it is trained on a CPU
    ids = torch.zeros(8, 96, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, -1] = 0

    def forward() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return model(input_ids=ids, attention_mask=mask).last_hidden_state

    shape = shape_of(str(bert))
    measured = saved_by(forward, model)
    if precision == "bf16":
        measured -= 2 * shape.products
    one = Pass(ids.numel(), attended=8 * 96 * 96)
    planned = memory.activations(shape, one, Way(precision))
    assert planned == pytest.approx(measured, rel=0.1)


def large(weights: int) -> Shape:
    """A model of which nothing but its weights counts."""
    return Shape(
        layers=32, hidden=1, intermediate=1, vocabulary=1, heads=1, queries=1, keys=1,
        weights=weights, body=weights, products=0, largest=1, linears={}, encoder=False,
    )  # fmt: skip


def test_weights_gradients_and_moments_as_the_paper_of_zero_counts_them() -> None:
    # Figure 1 of arXiv 1910.02054: Adam takes 16 bytes a weight, 7.5 billion weights 120 GB,
    # and divided over 64 GPUs 1.9 GB each.
    shape, nothing = large(7_500_000_000), Pass(0)
    whole = memory.training(shape, nothing, Way("fp32", device="cuda"))
    assert (whole.weights + whole.gradients + whole.moments) / 1e9 == pytest.approx(120)
    part = memory.training(shape, nothing, Way("fp32", device="cuda", divided=64))
    assert (part.weights + part.gradients + part.moments) / 1e9 == pytest.approx(1.9, abs=0.05)


@pytest.mark.parametrize(
    ("weights", "optimizer", "bytes_of_each"),
    [
        # Weights, gradients and moments: 2 + 2 + 4 + 4, and with a float32 copy of the weights 4 more.
        ("bf16", "adamw", 12),
        ("bf16-master", "adamw", 16),
        # Two moments of a byte, and two float32 scales for each 256 weights.
        ("bf16", "adamw_8bit", 2 + 2 + 2 + 2 * 4 / 256),
        ("fp32", "adamw_8bit", 4 + 4 + 2 + 2 * 4 / 256),
        # What is paged need not be on the device.
        ("fp32", "paged_adamw", 8),
    ],
)
def test_bytes_of_each_weight(weights: str, optimizer: str, bytes_of_each: float) -> None:
    shape = large(7_500_000_000)
    way = Way("bf16", weights=weights, optimizer=optimizer, device="cuda")
    peak = memory.training(shape, Pass(0), way)
    together = peak.weights + peak.gradients + peak.moments
    assert together / shape.weights == pytest.approx(bytes_of_each, rel=1e-6)


def test_moments_of_embeddings_are_not_quantised() -> None:
    shape = replace(large(1_000_000_000), vocabulary=100_000, hidden=2000)
    moments = memory.moments(shape, shape.weights, Way(optimizer="adamw_8bit"))
    assert moments == pytest.approx(8 * 200e6 + (2 + 8 / 256) * 800e6)


def test_a_base_in_four_bits_takes_an_eighth_of_float32() -> None:
    way = Way("bf16", adapters=0, rank=8, bits=4, device="cuda")
    peak = memory.training(large(8_000_000_000), Pass(0), way)
    assert peak.weights == pytest.approx(4e9)
    assert (peak.gradients, peak.moments) == (0, 0)


def test_checkpointing_and_smaller_passes_need_less(llama: Path) -> None:
    shape = shape_of(str(llama))
    peak = memory.training(shape, Pass(4096, 2048), Way())
    assert memory.training(shape, Pass(2048, 1024), Way()).total < peak.total
    assert memory.training(shape, Pass(4096, 2048), Way(checkpointing=True)).total < peak.total


# --- schedules ------------------------------------------------------------------------------------


def test_a_schedule_cuts_batches_as_the_loop_does() -> None:
    # Ten items of 100 tokens in batches of four, two of them in a pass of 250: two full batches of two
    # passes each, and one of two items in one pass.
    amount = Amount(10, Tokens(1000), (100,) * 10, (50.0,) * 10)
    config = TrainConfig(batch_size=4, microbatch_tokens=250, epochs=2)
    times = schedule(amount, config, cuts_items=False)
    assert times.steps == 6
    assert times.passes == pytest.approx(5 / 3)
    assert (times.largest, times.squares) == (200, 100)
    assert times.epochs == 2
    assert times.dev == 2  # at the start and at the end


def test_a_schedule_ends_with_steps_or_tokens() -> None:
    amount = Amount(100, Tokens(10_000), (100,) * 100, (0.0,) * 100)
    few = schedule(amount, TrainConfig(batch_size=10, max_steps=3), cuts_items=False)
    assert (few.steps, few.epochs) == (3, pytest.approx(0.3))
    short = schedule(amount, TrainConfig(batch_size=10, max_tokens=4500), cuts_items=False)
    assert short.steps == 4


def test_a_long_item_is_cut_where_the_objective_can() -> None:
    amount = Amount(1, Tokens(900), (900,), (900.0,))
    config = TrainConfig(microbatch_tokens=300)
    assert schedule(amount, config, cuts_items=True).largest == 300
    assert schedule(amount, config, cuts_items=False).largest == 900


# --- what is advised ------------------------------------------------------------------------------


def test_first_is_advised_what_changes_no_result(llama: Path) -> None:
    shape = replace(shape_of(str(llama)), hidden=2000, intermediate=8000)
    training = Training("policies.dpo", shape, TrainConfig(microbatch_tokens=8192), None, True)
    needed = training.peak(CPU, 8192).total
    tight = replace(CPU, memory=0.6 * needed)
    assert mend(training, tight) == "set policies.dpo.train.microbatch_tokens=4096"
    # A large model, whose weights are what has no room: 16 bytes of each, 12 in bf16, 6 with 8 bits.
    whole = training._replace(shape=large(10**9))
    in_bf16 = "policies.dpo.train.weights=bf16"
    assert mend(whole, replace(CPU, memory=13e9)).endswith(f", {in_bf16}")
    assert mend(whole, replace(CPU, memory=7e9)).endswith(
        f", {in_bf16} and policies.dpo.train.optimizer=adamw_8bit"
    )
    hopeless = mend(training, replace(CPU, memory=1.0))
    assert hopeless.startswith("name a smaller model")
    line = refusal(training, training.peak(CPU, 8192), tight)
    assert "\n" not in line
    assert "REWARDDIFF_MEMORY=ignore" in line
    # What is advised fits.
    assert training.peak(tight, 4096).total <= 0.6 * needed
