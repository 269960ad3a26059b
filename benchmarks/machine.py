"""The machine: what it is, how fast it multiplies matrices, how much memory a process takes; the
work a pair needs."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

SHAPES = ((1024, 576, 1536), (2048, 2048, 2048))
"""(m, k, n) of the matmuls timed: SmolLM2-135M's widest projection over 1,024 tokens, and a large
square."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_bytes(field: str) -> int:
    """A field of /proc/self/status: VmRSS, resident now, or VmHWM, the most resident since the last
    reset."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {field}; the benchmark measures memory on Linux only")


def reset_peak() -> int:
    """Let VmHWM start again from what is resident now; returns that, bytes."""
    CLEAR_REFS.write_text("5")
    return memory_bytes("VmRSS")


def touch(model: torch.nn.Module) -> None:
    """Read every weight, so that a lazily mapped file is resident and counts as the model's own
    memory."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sum()


def matmul_rate(
    shape: tuple[int, int, int], dtype: torch.dtype, seconds: float = 0.3, repeats: int = 7
) -> float:
    """FLOP/s of an (m, k) by (k, n) product: the median over `repeats` timings of about `seconds`
    each."""
    m, k, n = shape
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
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
    """FLOP/s by precision and shape."""
    return {
        name: {f"{m}x{k}@{k}x{n}": matmul_rate((m, k, n), dtype) for m, k, n in SHAPES}
        for name, dtype in DTYPES.items()
    }


@dataclass(frozen=True)
class ModelSize:
    """Weights that take part in matrix products: of the body for each token, of the head for each
    predicted one."""

    body: int
    head: int

    def flops(self, prompt_tokens: int, response_tokens: int) -> float:
        """Useful work of DPO on pairs: each prompt token once, no padding, no attention scores, no
        recomputation.

        Per weight and token: 2 FLOP forward, 4 backward, 2 for the reference's forward. The head
        works where a response token is predicted.
        """
        return 8.0 * (self.body * (prompt_tokens + response_tokens) + self.head * response_tokens)


def model_size(model_name: str) -> ModelSize:
    """Count the weights of a causal LM without loading them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_name))  # type: ignore[no-untyped-call]
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    outside = {id(weight): weight.numel() for weight in (embedding, head)}
    return ModelSize(
        sum(p.numel() for p in model.parameters()) - sum(outside.values()), head.numel()
    )


def threads() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str | int | None]:
    """The machine, the libraries, the date and the commit, for a reader who wants to repeat the
    figures."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name")
        or platform.processor()
        or platform.machine(),
        "bf16_instructions": " ".join(sorted(_cpu_flags() & {"amx_bf16", "avx512_bf16"})) or "none",
        "cores": threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "transformers", "accelerate", "trl")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _field(path: Path, name: str) -> str | None:
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name),
        None,
    )


def _cpu_flags() -> set[str]:
    return set((_field(Path("/proc/cpuinfo"), "flags") or "").split())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working tree, with "+changes" where it is not clean; None outside a
    repository."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
