"""The offline questions of the laboratory, asked again of a transformer.

A small transformer learns from comparisons of its own responses, labelled with known noise, and
weighed, turned or shifted by scorers of known quality: the same lines as in `lab.questions`, by the
project's own training of policies, and held against plain DPO on the same comparisons.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewarddiff import files
from rewarddiff.config import at_least, checked
from rewarddiff.config.schema import to_dict
from rewarddiff.errors import UserError
from rewarddiff.lab.asking import LabConfig, Line, Rows, by_quality, given_to, weighting
from rewarddiff.lab.online.comparisons import PairsConfig, compared, trained
from rewarddiff.lab.online.measuring import Measure
from rewarddiff.lab.online.offline_results import OfflineLab, OfflineTrained, OfflineWorld
from rewarddiff.lab.online.policy import PretrainConfig, encoder, pretrained
from rewarddiff.lab.online.rewards import NoiseConfig, Reader
from rewarddiff.lab.online.world import LanguageConfig, World
from rewarddiff.lab.policy import Method
from rewarddiff.progress import Task, task
from rewarddiff.results.reading import plain, read
from rewarddiff.store import fingerprint
from rewarddiff.version import __version__

LINES: dict[str, Line] = {
    "weight (clip)": weighting(),
    "weight (abs)": weighting(negative="abs"),
    "weight (flip)": weighting(negative="flip"),
    "offset (rdpo)": given_to("rdpo"),
    "shuffled": weighting(control="shuffled"),
    "constant": weighting(control="constant"),
}
"""What is made of a scorer's differences, by name; the last two are controls."""


@checked
@dataclass(frozen=True)
class OfflineLabConfig:
    """How the offline questions are asked of a transformer.

    Attributes:
        seeds: worlds, each with a language, a transformer and comparisons of its own.
        qualities: of scorers: their correlation with the true difference, the best first.
        pairs: the comparisons, and the training on them.
        language, pretrain: as in the questions online.
        draws: responses to each held-out prompt, at each place of a curve. points: those places.
        linear_seeds: worlds of the linear laboratory, which is asked the same; 0: it is not asked.
    """

    seeds: int = 5
    qualities: tuple[float, ...] = (1.0, 0.8, 0.4, 0.0)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    draws: int = 4
    points: int = 4
    linear_seeds: int = 24

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds", "draws", "points")
        at_least(self, 0, "linear_seeds")
        for quality in self.qualities:
            if not 0 <= quality <= 1:
                raise ValueError(f"qualities has {quality}, should be from 0 to 1")
        if not self.qualities or len(set(self.qualities)) < len(self.qualities):
            raise UserError("qualities: name at least one, and each once")

    @property
    def trainings(self) -> int:
        """Policies of one world: plain DPO, and the others."""
        return 1 + len(LINES) * len(self.qualities)


def offline_lab(config: OfflineLabConfig, folder: Path) -> OfflineLab:
    """Train every line in every world; a world that `folder` holds already is not done again."""
    parts = folder / f"worlds-{_identity(config)}"
    with task("laboratory", config.seeds * config.trainings) as progress:
        for seed in range(config.seeds):
            part = parts / f"{seed}.json"
            if part.exists():
                progress.advance(config.trainings, f"world {seed}")
            else:
                world = _world(config, seed, progress)
                files.write_text(part, json.dumps(plain(world)) + "\n")
    kept = [json.loads((parts / f"{seed}.json").read_text()) for seed in range(config.seeds)]
    worlds = tuple(read(OfflineWorld, part) for part in kept)
    return OfflineLab(__version__, to_dict(config), worlds)


def linear_lab(config: OfflineLabConfig) -> Rows:
    """Return what the linear laboratory says of the same lines, by line and quality."""
    if not config.linear_seeds:
        return {}
    return by_quality(LabConfig(seeds=config.linear_seeds), LINES)


def _world(config: OfflineLabConfig, seed: int, progress: Task) -> OfflineWorld:
    """Train every line in the world of one seed."""
    began = time.process_time()
    world = World(config.language, seed)
    reads = encoder()
    with _silent():
        start = pretrained(config.pretrain, world, reads)
    comparisons = compared(world, start, reads, config.pairs)
    # Its readings of rewards are not asked for: labels say what is better.
    reader = Reader(NoiseConfig(0.0, 0.0), seed)
    measure = Measure(world, reader, reads, start, config.draws)

    def learned(line: str, quality: float, method: Method) -> OfflineTrained:
        with _silent():
            points = trained(start, measure, comparisons, method, config.pairs, seed, config.points)
        progress.advance(1, f"world {seed}, {line or 'plain DPO'}")
        return OfflineTrained(line, quality, tuple(points))

    truth = comparisons.truth
    plain_dpo = learned("", 1.0, Method(truth))
    ways = []
    for line, method in LINES.items():
        for quality in config.qualities:
            ways.append(learned(line, quality, method(truth, quality, seed)))
    seconds = time.process_time() - began
    is_equal = truth == 0
    return OfflineWorld(
        seed=seed,
        equal=float(is_equal.mean()),
        wrong=float((truth[~is_equal] < 0).mean()),
        plain=plain_dpo,
        ways=tuple(ways),
        seconds=seconds,
    )


@contextmanager
def _silent() -> Iterator[None]:
    """Show no progress of single trainings: that of all is shown."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def _identity(config: OfflineLabConfig) -> str:
    """Return a hash of what a world depends on: more seeds leave it as it is."""
    return fingerprint("lab offline", __version__, repr(replace(config, seeds=1, linear_seeds=0)))[
        :12
    ]
