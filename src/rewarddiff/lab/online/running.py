"""All ways in all worlds, in processes side by side; what is done is kept, and not done again."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.lab.online.bench import Bench, bench, start_of
from rewarddiff.lab.online.config import OnlineLabConfig, WayName
from rewarddiff.lab.online.results import Start, Trained
from rewarddiff.lab.online.ways import trained
from rewarddiff.progress import task
from rewarddiff.results import plain, read
from rewarddiff.store import fingerprint
from rewarddiff.version import __version__
from rewarddiff.writing import guard


class Unit(NamedTuple):
    """A piece of work: a way in the world of a seed, or that world's start."""

    seed: int
    way: WayName | None = None

    @property
    def name(self) -> str:
        return f"{self.way or 'start'}-{self.seed}"


def measured(config: OnlineLabConfig, output: Path) -> tuple[list[Start], list[Trained]]:
    """Return every world's start and every policy, by what `output` holds and what is missing.

    Raises:
        UserError: a process was ended from outside.
    """
    folder = output / f"parts-{_identity(config)}"
    seeds = range(config.seeds)
    starts = [Unit(seed) for seed in seeds]
    trainings = [Unit(seed, way) for seed in seeds for way in config.ways]
    # Worlds come first: their starts are what all trainings begin from.
    stages = (_missing(starts, folder), _missing(trainings, folder))
    total = len(starts) + len(trainings)
    with task("laboratory", total, total - sum(map(len, stages))) as progress:
        for unit in _done(stages, config, folder):
            progress.advance(1, unit.name)
    return (
        [read(Start, _kept(folder, unit)) for unit in starts],
        [read(Trained, _kept(folder, unit)) for unit in trainings],
    )


def _identity(config: OnlineLabConfig) -> str:
    """Return a hash of what a part depends on: more seeds and other ways leave it as it is."""
    alike = replace(config, seeds=1, ways=("ppo",), processes=1)
    return fingerprint("lab online", __version__, repr(alike))[:12]


def _missing(units: Sequence[Unit], folder: Path) -> list[Unit]:
    return [unit for unit in units if not _part(folder, unit).exists()]


def _part(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.name}.json"


def _kept(folder: Path, unit: Unit) -> object:
    return json.loads(_part(folder, unit).read_text())


def _done(
    stages: Sequence[Sequence[Unit]], config: OnlineLabConfig, folder: Path
) -> Iterator[Unit]:
    """Do what is missing, one stage after the other, and yield units as they are done."""
    if config.processes == 1:
        for unit in chain(*stages):
            yield _work(unit, config, folder)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(config.processes, context, _begin_process) as pool:
        try:
            for units in stages:
                futures = [pool.submit(_work, unit, config, folder) for unit in units]
                for future in as_completed(futures):
                    yield future.result()
        except BrokenProcessPool:
            raise UserError(
                f"one of {config.processes} processes was ended from outside, as by a lack of "
                "memory; use fewer processes, and start again to go on"
            ) from None
        finally:
            # What fails in one, or an interrupt, leaves the units that nobody has begun.
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_process() -> None:
    """Train on one thread: there are as many processes as there is room for."""
    import torch

    guard()
    torch.set_num_threads(1)


def _work(unit: Unit, config: OnlineLabConfig, folder: Path) -> Unit:
    """Do a unit, and keep what came out; its own progress is not shown beside that of others."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        of_seed = _bench(config, unit.seed, folder)
        result = _result(unit, of_seed)
    files.write_text(_part(folder, unit), json.dumps(plain(result)) + "\n")
    return unit


def _result(unit: Unit, of_seed: Bench) -> Start | Trained:
    if unit.way is None:
        return start_of(of_seed)
    return trained(unit.way, of_seed)


@lru_cache(maxsize=1)  # the ways of one seed follow each other
def _bench(config: OnlineLabConfig, seed: int, folder: Path) -> Bench:
    return bench(config, seed, folder)
