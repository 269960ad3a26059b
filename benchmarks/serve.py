"""A reward server that reads what arrives together, beside the same server one request at a time.

64 clients on loopback, each with one sample a request, as trainers of RL send them; a client asks
again as soon as it is answered. Three kinds of work, with fresh heads on the two small models:

    decoder-shared   prompts of 200 to 400 tokens with 8 samples each, of 16 to 40 tokens, one
                     behind the other, so that samples of one prompt arrive together
    decoder-alone    the same, no two samples of one prompt
    encoder          the same samples as decoder-alone

A sample of `decoder-shared` takes 300 + 28 tokens alone and 300/8 + 28 in a tree: 5.0 times fewer.
Of the others nothing is shared: what is gained there are larger products of matrices. Clients run on
the cores that the model runs on.

Every answer is compared with offline scoring of the same samples, and the server ends by SIGTERM.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from benchmarks import contest
from benchmarks.contest import Comparison, say
from benchmarks.rows import text
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import RewardModel

CLIENTS = 64
SAMPLES = 8
"""Of a prompt, where prompts are shared."""
TOLERANCE = 1e-4
"""Between an answer and offline scoring."""

MODELS = {"decoder": "smollm2-135m-instruct", "encoder": "all-minilm-l6-v2"}
CASES = ("decoder-shared", "decoder-alone", "encoder")
WAYS = {"ours": (), "one": ("batch=1",)}
"""Ours, and one request at a time: further arguments of the server."""

Sample = tuple[str, str]


@dataclass(frozen=True)
class Load:
    """What 64 clients saw of a server.

    Attributes:
        answers: in the time that counts.
        p50, p99: seconds to an answer.
        failures: answers that were no reward; what is not 0 here ends the benchmark.
        largest_gap: between an answer and offline scoring.
        equal: share of the answers that are equal to it to the bit.
        memory: bytes resident after half of the time, and at its end.
        batch: responses read together, in the mean.
    """

    answers: int
    seconds: float
    p50: float
    p99: float
    failures: int
    largest_gap: float
    equal: float
    memory: tuple[int, int]
    batch: float

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    def __str__(self) -> str:
        grown = (self.memory[1] - self.memory[0]) / 2**20
        return (
            f"{self.rate:.1f} answers/s, p50 {self.p50:.3f} s, p99 {self.p99:.3f} s, "
            f"{self.failures} failures, {self.equal:.0%} equal to the bit (≤ {self.largest_gap:.0e}), "
            f"memory {grown:+.1f} MiB, {self.batch:.1f} a batch"
        )


def make_samples(case: str, prompts: int) -> list[Sample]:
    """Make samples of random words, those of one prompt one behind the other."""
    rng = random.Random(0)
    a_prompt = SAMPLES if case == "decoder-shared" else 1
    samples = []
    for _ in range(prompts * SAMPLES // a_prompt):
        prompt = text(rng.randint(200, 400), rng)
        samples += [(prompt, text(rng.randint(16, 40), rng)) for _ in range(a_prompt)]
    return samples


def contend(threads: int, *, rounds: int, seconds: float, quick: bool) -> dict[str, Any]:
    """Run every case in both ways, in turns; return runs and comparisons.

    Raises:
        RuntimeError: an answer was no reward, or another than offline.
    """
    runs: dict[str, dict[str, list[Load]]] = {}
    figures: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            model = make_model(MODELS[case.partition("-")[0]], Path(folder))
            samples = make_samples(case, 8 if quick else 24)
            expected = offline(model, samples)
            runs[case] = {way: [] for way in WAYS}
            for turn, (way, options) in itertools.product(range(rounds), WAYS.items()):
                with server(model, threads, *options) as address:
                    load = asyncio.run(press(address, samples, expected, seconds))
                say(f"serve {case} round {turn + 1}/{rounds} {way}: {load}")
                if load.failures or not load.largest_gap <= TOLERANCE:
                    raise RuntimeError(f"{case}, {way}: not the rewards of offline scoring: {load}")
                runs[case][way].append(load)
            rates = {way: [load.rate for load in loads] for way, loads in runs[case].items()}
            figures.append(contest.compare(f"serve-{case}", "answers/s", *rates.values()))
    return {"runs": runs, "comparisons": figures}


def make_model(name: str, folder: Path) -> Path:
    """Save a reward model of this backbone with a fresh head, once."""
    place = folder / name
    if not place.exists():
        scorer = new_scorer(ScorerConfig(kind="reward", backbone=name))
        scorer.trained = True
        save_scorer(scorer, place)
    return place


def offline(model: Path, samples: list[Sample]) -> dict[Sample, float]:
    """Score samples as `rewarddiff score` does, by groups."""
    scorer = load_scorer(model)
    assert isinstance(scorer, RewardModel)
    groups = []
    for prompt, run in itertools.groupby(samples, key=lambda sample: sample[0]):
        groups.append(Group(str(len(groups)), prompt, tuple(response for _, response in run)))
    rewards = np.concatenate(scorer.rewards(groups))
    return dict(zip(samples, rewards.tolist(), strict=True))


@contextmanager
def server(model: Path, threads: int, *options: str) -> Iterator[str]:
    """Run `rewarddiff serve` in a process of its own; yield its address."""
    command = [sys.executable, "-m", "rewarddiff", "serve", str(model), "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" at ")[1].split()[0]
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(120) != 0:
                raise RuntimeError(f"the server ended with status {process.returncode}")


async def press(
    address: str, samples: list[Sample], expected: dict[Sample, float], seconds: float
) -> Load:
    """Let 64 clients ask for so many seconds, and wait for what they have asked.

    What counts begins when each has had its first answer, and ends with the last answer.
    """
    waiting = itertools.cycle(samples)
    start = time.perf_counter()
    times: list[float] = []
    latencies: list[float] = []
    gaps: list[float] = []
    failures = 0
    limits = httpx2.Limits(max_connections=CLIENTS + 1, max_keepalive_connections=CLIENTS + 1)
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=600) as client:

        async def ask() -> None:
            nonlocal failures
            while (asked := time.perf_counter()) < start + seconds:
                sample = next(waiting)
                body = {"prompt": sample[0], "response": sample[1], "label": ""}
                answer = await client.post("/reward", json=body)
                times.append(time.perf_counter())
                latencies.append(times[-1] - asked)
                if answer.status_code == 200:
                    gaps.append(abs(answer.json() - expected[sample]))
                else:
                    failures += 1

        asking = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
        await asyncio.sleep(seconds / 2)
        early = await figure(client, "process_resident_memory_bytes")
        await asyncio.gather(*asking)
        memory = (int(early), int(await figure(client, "process_resident_memory_bytes")))
        responses = await figure(client, "rewarddiff_batch_responses_sum")
        batches = await figure(client, "rewarddiff_batch_responses_count")
    return Load(
        answers=len(times) - CLIENTS,
        seconds=times[-1] - times[CLIENTS - 1],
        p50=float(np.quantile(latencies[CLIENTS:], 0.5)),
        p99=float(np.quantile(latencies[CLIENTS:], 0.99)),
        failures=failures,
        largest_gap=max(gaps),
        equal=float(np.mean(np.array(gaps) == 0)),
        memory=memory,
        batch=responses / batches,
    )


async def figure(client: httpx2.AsyncClient, name: str) -> float:
    """Return one of the server's own figures."""
    metrics = (await client.get("/metrics")).text
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])
