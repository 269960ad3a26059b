"""The precision that a machine chooses for itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from rewarddiff.devices import matmul_rate
from rewarddiff.loop import precision
from rewarddiff.loop.objective import TrainConfig


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    precision._measured.cache_clear()
    yield
    precision._measured.cache_clear()


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bf16"), (0.8, "fp32"), (4.0, "fp32")])
def test_bf16_has_to_be_worth_it(
    seconds: float,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rates = {torch.float32: 1.0, torch.bfloat16: 1 / seconds}
    monkeypatch.setattr(precision, "matmul_rate", lambda dtype, *_, **__: rates[dtype])
    with caplog.at_level(logging.INFO):
        assert TrainConfig(precision="auto").precision == chosen
        assert TrainConfig(precision="auto").precision == chosen
    assert len(caplog.messages) == 1  # it is measured, and said, once
    assert f"auto is {chosen} here" in caplog.messages[0]


def test_a_real_measurement_decides() -> None:
    gain = matmul_rate(torch.bfloat16, "cpu") / matmul_rate(torch.float32, "cpu")
    if abs(gain / precision.GAIN - 1) < 0.5:
        pytest.skip("bf16 and fp32 are too near to each other here")
    assert TrainConfig(precision="auto").precision == ("bf16" if gain > precision.GAIN else "fp32")


def test_a_precision_that_is_given_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "matmul_rate", None)
    assert TrainConfig(precision="fp32").precision == "fp32"
