"""Log-probabilities from logits in chunks, of any size, and which heads a fused kernel reads."""

from __future__ import annotations

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from test_forward import DEPTH_FIRST, gradients, make
from torch import Tensor
from transformers import AutoModelForCausalLM

from rewarddiff.forward import LogProbs, fused_head, logprobs, switch_dropout_off

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_a_chunk_changes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("gemma2")
    policy = LogProbs(model)
    switch_dropout_off(model)
    packed = policy.pack(DEPTH_FIRST)
    expected = policy(packed)
    expected_gradients = gradients(model, expected)
    monkeypatch.setattr(logprobs, "LOGITS_CHUNK", size)
    values = policy(packed)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    for key, gradient in gradients(model, values).items():
        torch.testing.assert_close(gradient, expected_gradients[key], rtol=1e-9, atol=1e-12)


def test_logits_that_are_too_large_to_be_kept_are_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make("gemma2")
    policy = LogProbs(model)
    switch_dropout_off(model)
    packed = policy.pack(DEPTH_FIRST)
    calls = 0

    def counted(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.get_output_embeddings().register_forward_hook(counted)
    found = []
    for limit, expected_calls in [(2**28, 1), (0, 2)]:
        monkeypatch.setattr(logprobs, "LOGITS_KEPT", limit)
        calls = 0
        found.append(gradients(model, policy(packed)))
        assert calls == expected_calls
    for key, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][key], rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_targets_log_probability_is_that_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=draw, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda given: logprobs._gather(given, targets), (logits,))


def test_in_bf16_a_nearly_certain_target_keeps_its_gradient() -> None:
    """p = 1/(1 + e⁻⁸): the gradient by the target's logit is 1 − p = 3.4e-4, which is less than the
    half of what bf16 tells 1 from (2⁻⁸)."""
    logits = torch.tensor([[8.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    value = logprobs._gather(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    expected = 1 - 1 / (1 + torch.exp(torch.tensor(-8.0)))
    torch.testing.assert_close(
        gradient.float(), torch.tensor([[expected, -expected]]), rtol=2**-8, atol=0
    )


@pytest.mark.parametrize("vocabulary", [32_000, 49_152, 151_936, 10**9])
def test_chunks_fill_their_bytes_on_a_gpu(vocabulary: int) -> None:
    size = logprobs.chunk_size("cuda", vocabulary)
    fits = size * vocabulary * 4 <= 2**30 < (size + 1) * vocabulary * 4
    assert fits or size == 256  # never fewer than on a CPU


class Kernel:
    """Stands in for the fused kernel; remembers the caps that it was called with."""

    def __init__(self) -> None:
        self.caps: list[float | None] = []

    def __call__(
        self, states: Tensor, weight: Tensor, targets: Tensor, softcap: float | None
    ) -> Tensor:
        self.caps.append(softcap)
        logits = states @ weight.T
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        return logits.log_softmax(-1)[torch.arange(len(targets)), targets]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    stand_in = Kernel()
    monkeypatch.setattr(fused_head, "works", lambda *_: True)
    monkeypatch.setattr(fused_head, "logps", stand_in)
    return stand_in


@pytest.mark.parametrize(("name", "cap"), [("llama", None), ("gemma2", 3.0)])
def test_a_plain_head_is_read_by_the_kernel(
    name: str, cap: float | None, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = LogProbs(make(name).eval())
    packed = policy.pack(DEPTH_FIRST)
    by_kernel = policy(packed)
    assert kernel.caps == [cap]
    monkeypatch.setattr(fused_head, "works", lambda *_: False)
    torch.testing.assert_close(policy(packed), by_kernel, rtol=1e-12, atol=1e-12)
    assert kernel.caps == [cap]


def test_what_the_kernel_does_not_give_is_read_from_logits(kernel: Kernel) -> None:
    policy = LogProbs(make("llama").eval())
    packed = policy.pack(DEPTH_FIRST)
    assert policy(packed, collision=True).shape == (len(packed.tokens), 2)
    policy(packed, temperature=0.7)
    assert kernel.caps == []


@pytest.mark.parametrize(
    ("config", "scale"),
    [("CohereConfig", {"logit_scale": 0.25}), ("GraniteConfig", {"logits_scaling": 4.0})],
)
def test_a_head_with_a_scale_is_read_from_logits(
    config: str, scale: dict[str, float], kernel: Kernel
) -> None:
    settings = getattr(transformers, config)(**SMALL, **scale)
    policy = LogProbs(AutoModelForCausalLM.from_config(settings, dtype=torch.float64).eval())
    policy(policy.pack(DEPTH_FIRST))
    assert kernel.caps == []


def test_a_head_with_an_adapter_is_read_from_logits(kernel: Kernel) -> None:
    adapter = LoraConfig(target_modules=["lm_head"], r=2, task_type="CAUSAL_LM")
    policy = LogProbs(get_peft_model(make("llama"), adapter).eval())
    policy(policy.pack(DEPTH_FIRST))
    assert kernel.caps == []


def test_a_cpu_has_no_kernel() -> None:
    assert not fused_head.works("cpu", torch.float32, torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_liger_gives_a_value_and_takes_a_gradient_of_every_token(weights: torch.dtype) -> None:
    pytest.importorskip("liger_kernel")
    assert fused_head.works("cuda", torch.bfloat16, weights)
