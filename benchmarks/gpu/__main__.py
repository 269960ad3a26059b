"""Run all parts within a time, write what is measured as it comes, and print a line for each."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.contest import say
from benchmarks.gpu.parts import PACKAGES, Part, all_parts
from benchmarks.gpu.summary import Line, outcome_line, summary, summary_lines
from rewarddiff import files

RESULTS = Path(__file__).parents[1] / "results" / "gpu.json"
LEAST = 15.0
"""Seconds below which no part is begun."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, allow_abbrev=False
    )
    text = "cuda or cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=text)
    text = "a tiny model alone: to see that all of it runs"
    parser.add_argument("--tiny", action="store_true", help=text)
    text = "model sizes, the most important first"
    sizes = ("8b", "1b", "135m")
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=sizes, help=text)
    text = "seconds for all of it"
    parser.add_argument("--seconds", type=float, default=590.0, help=text)
    text = "these tasks alone, such as dpo and trl-dpo"
    parser.add_argument("--only", nargs="+", default=(), help=text)
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file of the figures")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU here; --tiny --device cpu shows that all of it runs")
    chosen = all_parts(["tiny"] if given.tiny else given.sizes)
    if given.only:
        chosen = [part for part in chosen if part.task in ("matmul", *given.only)]
    run = Run(given.device, given.seconds, given.output)
    run.all(chosen)
    for line in run.report():
        print(line)
    say(f"written: {given.output}")


class Run:
    """One run of the benchmark: the outcomes so far, and the time that is left."""

    def __init__(self, device: str, seconds: float, output: Path) -> None:
        self.device = device
        self.output = output
        self.start = time.monotonic()
        self.end = self.start + seconds
        self.outcomes: list[Line] = []
        self.machine = describe(device)

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    @property
    def matmul_rate(self) -> float | None:
        for line in self.outcomes:
            if "best" in line:
                rate: float = line["best"]
                return rate
        return None

    def all(self, parts: list[Part]) -> None:
        """Run parts in order, neighbours of one side in one process."""
        for side, of_side in groupby(parts, key=lambda part: part.side):
            waiting = list(of_side)
            if side in PACKAGES and find_spec(PACKAGES[side]) is None:
                waiting = self._leave_out(waiting, f"{PACKAGES[side]} is not installed")
            while waiting:
                waiting = self._process(waiting)

    def _process(self, parts: list[Part]) -> list[Part]:
        """Run parts in a process; return those that are left when it had to be ended."""
        if self.left < LEAST:
            return self._leave_out(parts, "no time was left")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines.jsonl"
            path.touch()
            child = self._started(parts, path)
            done = 0
            try:
                for part in parts:
                    if self.left < LEAST and done:
                        break
                    self._note(self._outcome(part, child, path, done))
                    done += 1
                    if child.poll() is not None:
                        break
            finally:
                child.kill()
                child.wait()
        return parts[done:]

    def _leave_out(self, parts: list[Part], why: str) -> list[Part]:
        for part in parts:
            self._note({"part": part.name, "status": "left out", "why": why})
        return []

    def _started(self, parts: list[Part], path: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.gpu.child", "--device", self.device]
        command += ["--lines", str(path)]
        if self.matmul_rate is not None:
            command += ["--matmul-rate", str(self.matmul_rate)]
        command += [part.name for part in parts]
        environment = {**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1", "TQDM_DISABLE": "1"}
        environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        root = Path(__file__).parents[2]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)

    def _outcome(self, part: Part, child: subprocess.Popen[bytes], path: Path, done: int) -> Line:
        """Wait for a part's line, no longer than it may take."""
        limit = min(part.limit, self.left)
        until = time.monotonic() + limit
        while time.monotonic() < until:
            has_ended = child.poll() is not None
            ended = [line for line in whole_lines(path) if line["status"] != "begins"]
            if len(ended) > done:
                return ended[done]
            if has_ended:
                why = f"its process ended with status {child.returncode}"
                return {"part": part.name, "status": "failed", "why": why}
            time.sleep(0.1)
        child.kill()
        child.wait()
        return {"part": part.name, "status": "failed", "why": f"took more than {limit:.0f} s"}

    def _note(self, line: Line) -> None:
        """Keep an outcome, and write all so far: what follows may fail."""
        self.outcomes.append(line)
        content = {
            "schema": 1,
            "machine": self.machine,
            "seconds": time.monotonic() - self.start,
            "parts": self.outcomes,
            "summary": summary(self.outcomes),
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.output, json.dumps(content, indent=2) + "\n")
        say(outcome_line(line))

    def report(self) -> list[str]:
        return [*map(outcome_line, self.outcomes), *summary_lines(summary(self.outcomes))]


def whole_lines(path: Path) -> list[Line]:
    """Return the lines of a file that is still written to; of the last one there may be a part."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def describe(device: str) -> Line:
    described = machine.describe()
    if device == "cuda":
        described["gpu"] = torch.cuda.get_device_name()
        described["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return described


if __name__ == "__main__":
    main()
