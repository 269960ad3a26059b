"""What a launcher has set, and what is made of it."""

from __future__ import annotations

import logging
import os

import pytest

from rewarddiff import launch


def test_a_plugin_of_accelerate_is_forgotten_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with caplog.at_level(logging.WARNING, "rewarddiff"):
        launch.forget_plugins()
        launch.forget_plugins()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("ACCELERATE_USE_FSDP is set")
    assert "train.sharding: fsdp" in said
    assert "ACCELERATE_USE_FSDP" not in os.environ
    assert "ACCELERATE_USE_DEEPSPEED" not in os.environ
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_other_processes_forget_it_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "1"}.items():
        monkeypatch.setenv(name, value)
    launch.forget_plugins()
    assert not caplog.records
    assert "ACCELERATE_USE_DEEPSPEED" not in os.environ
