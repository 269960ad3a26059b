"""What doctor tells of GPUs, on a machine that has none and on one that is made believe."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rewarddiff.doctor import gpu_findings
from rewarddiff.forward import flex


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = dict(gpu_findings())
    assert found["gpu"] == "none that torch can use"
    assert found["attention"].startswith("block by block")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two GPUs of 80 GiB, of which the second is in use by others."""
    can = {"bf16": True, "flex": True}

    def memory(place: int) -> tuple[int, int]:
        if place == 1:
            raise RuntimeError("CUDA out of memory")
        return 60 * 2**30, 80 * 2**30

    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_name": lambda place: f"Fake {place}",
        "mem_get_info": memory,
        "is_bf16_supported": lambda including_emulation: can["bf16"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(flex, "works", lambda *_: can["flex"])
    return can


def test_every_gpu_is_told_with_its_free_memory(two_gpus: dict[str, Any]) -> None:
    found = list(gpu_findings())
    assert found == [
        ("gpu", "0: Fake 0, 60.0 GiB of 80.0 GiB free"),
        ("gpu", "1: cannot be used: CUDA out of memory"),
        ("bf16", "yes"),
        ("attention", "FlexAttention works: trees are attended to in one kernel"),
    ]


def test_what_a_gpu_cannot_do_is_told(two_gpus: dict[str, Any]) -> None:
    two_gpus.update(bf16=False, flex=False)
    found = dict(gpu_findings())
    assert found["bf16"] == "no: set train.precision=fp32"
    assert found["attention"].startswith("FlexAttention does not work here")
