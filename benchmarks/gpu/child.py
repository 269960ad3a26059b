"""Runs parts one after the other and writes a line when one begins and when it ends."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.figures import Figures
from benchmarks.gpu.parts import Part
from benchmarks.gpu.shapes import SHAPES


def runner(task: str) -> Callable[..., Any]:
    """Return the function of a part; what it needs is imported only then."""
    from benchmarks.gpu.parts import SIDES

    if SIDES[task] != "ours":
        from benchmarks.gpu import peers as module
    elif task in ("matmul", "attention", "logits"):
        from benchmarks.gpu import kernels as module
    else:
        from benchmarks.gpu import ours as module
    run: Callable[..., Any] = getattr(module, task.replace("-", "_"))
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--matmul-rate", type=float)
    parser.add_argument("parts", nargs="+")
    given = parser.parse_args()
    rate = given.matmul_rate
    with given.lines.open("a", encoding="utf-8", buffering=1) as lines:
        for name in given.parts:
            part = Part(*name.split("/"))
            lines.write(json.dumps({"part": name, "status": "begins"}) + "\n")
            line = outcome(part, given.device, rate)
            rate = line.get("best", rate)
            lines.write(json.dumps(line) + "\n")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class Warnings(logging.Handler):
    """Keeps what this project warns of: a kernel that does not work is not found in the figures."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def outcome(part: Part, device: str, rate: float | None) -> dict[str, Any]:
    """Run a part; what it raises is its outcome."""
    start = time.perf_counter()
    warnings = Warnings()
    logging.getLogger("rewarddiff").addHandler(warnings)
    line: dict[str, Any] = {"part": part.name, "warnings": warnings.texts}
    try:
        answer = runner(part.task)(SHAPES[part.size], device)
    except Exception as error:
        line["status"] = "failed"
        line["why"] = f"{type(error).__name__}: {error}"[:500]
        line["traceback"] = traceback.format_exc()[-4000:]
    else:
        line["status"] = "done"
        line |= answer.as_json(rate) if isinstance(answer, Figures) else answer
    logging.getLogger("rewarddiff").removeHandler(warnings)
    return {**line, "seconds_in_all": time.perf_counter() - start}


if __name__ == "__main__":
    main()
