"""The machine: what it is, how fast it multiplies matrices, how much memory a process takes."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rewarddiff.doctor import memory_bytes as memory_of_machine
from rewarddiff.machine import installed_version, kernel_field, processor

SHAPES = ((1024, 576, 1536), (2048, 2048, 2048))
"""(m, k, n) of the products timed: SmolLM2-135M's widest over 1,024 tokens, and a large square."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def memory_bytes(field: str) -> int:
    """Return a figure of this process's memory, bytes.

    Args:
        field: VmRSS, resident now, or VmHWM, the most resident since the last reset.
    """
    kibibytes = kernel_field("self/status", field)
    if kibibytes is None:
        raise RuntimeError(f"no {field} in /proc: the benchmark measures memory on Linux only")
    return int(kibibytes.split()[0]) * 1024


def reset_peak() -> int:
    """Let VmHWM start again from what is resident now, and return that, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_bytes("VmRSS")


def touch(model: torch.nn.Module) -> None:
    """Read every weight, so that a lazily mapped file counts as the model's own memory."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sum()


def matmul_rate(
    shape: tuple[int, int, int], dtype: torch.dtype, seconds: float = 0.3, repeats: int = 7
) -> float:
    """Return FLOP/s of an (m, k) by (k, n) product.

    It is the median over `repeats` timings of about `seconds` each.
    """
    m, k, n = shape
    a = torch.randn(m, k).to(dtype)
    b = torch.randn(k, n).to(dtype)
    flops = 2 * m * k * n

    def rate(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            a @ b
        return count * flops / (time.perf_counter() - start)

    rate(3)
    count = max(1, round(rate(3) * seconds / flops))
    return median(rate(count) for _ in range(repeats))


def matmul_rates() -> dict[str, dict[str, float]]:
    """Return FLOP/s by precision and shape."""
    rates: dict[str, dict[str, float]] = {}
    for name, dtype in DTYPES.items():
        rates[name] = {f"{m}x{k}@{k}x{n}": matmul_rate((m, k, n), dtype) for m, k, n in SHAPES}
    return rates


@dataclass(frozen=True)
class ModelSize:
    """Weights in matrix products: the body's for each token, the head's for each predicted one."""

    body: int
    head: int

    def flops(self, prompt_tokens: int, response_tokens: int) -> float:
        """Return the useful work of DPO on pairs.

        Each prompt token counts once; padding, attention scores and recomputation do not. Per
        weight and token: 2 FLOP forward, 4 backward, 2 for the reference's forward. The head works
        where a response token is predicted.
        """
        return 8.0 * (self.body * (prompt_tokens + response_tokens) + self.head * response_tokens)


def model_size(model_name: str) -> ModelSize:
    """Count the weights of a causal LM without loading them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_name))
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    every = sum(parameter.numel() for parameter in model.parameters())
    outside = head.numel()
    if embedding is not head:
        outside += embedding.numel()
    return ModelSize(every - outside, head.numel())


def threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, Any]:
    """Return machine, libraries, date and commit, for a reader who wants to repeat the figures."""
    flags = (kernel_field("cpuinfo", "flags") or "").split()
    bf16_flags = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    packages = ("torch", "transformers", "accelerate", "trl")
    return {
        "cpu": processor(),
        "bf16_instructions": " ".join(bf16_flags) or "none",
        "cores": threads(),
        "memory_bytes": memory_of_machine(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: installed_version(package) for package in packages},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit of the working tree, "+changes" where it is not clean; None without one."""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
