"""Damage to any file of a finished run: found, named, and made anew, or of no consequence.

    python tests/faults/damage.py 200        # 200 random flips, cuts, deletions, zeros and swaps

Each damage is done to a copy of one finished run, and the same command is run again. It has to end with
the results of the run that nothing happened to, having named the file; a file that no later stage reads
may stay as it is.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.trace import differences

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

KEPT = ("cache/", "store.sqlite")
"""What stages keep for each other; it is read where stages are made anew, so these are lost too."""

STAGES = ("scorers", "policies", "evaluations", "differences", "samples", "rewards")

WRITTEN_BY_EVERY_RUN = ("results.json", "report.")

HOWS = ("flipped", "cut", "zeroed", "deleted", "swapped")


class Damage(NamedTuple):
    """What is done to which file, by its path in the run."""

    name: str
    how: str
    place: float

    def do(self, run: Path) -> None:
        """Do it."""
        path = run / self.name
        content = bytearray(path.read_bytes())
        at = int(self.place * len(content))
        if self.how == "swapped":
            others = sorted(other for other in path.parent.iterdir() if other.is_file())
            other = others[(others.index(path) + 1) % len(others)]
            theirs = other.read_bytes()
            other.write_bytes(content)
            path.write_bytes(theirs)
            return
        path.unlink()  # files may have a second name elsewhere
        if self.how == "deleted":
            return
        if self.how == "flipped":
            content[at] ^= 1 << int(self.place * 8) % 8
        elif self.how == "cut":
            del content[at:]
        elif self.how == "zeroed":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        path.write_bytes(content)


def damages(run: Path, count: int, seed: int) -> list[Damage]:
    """Draw damages of the files of a run, every file as likely as any other."""
    rng = random.Random(seed)
    names = sorted(files_of(run))
    drawn = []
    while len(drawn) < count:
        name = rng.choice(names)
        if (run / name).stat().st_size:
            drawn.append(Damage(name, rng.choice(HOWS), rng.random()))
    return drawn


def files_of(run: Path) -> dict[str, bytes]:
    """Return what every file of a run holds, but for its lock."""
    contents = {}
    for path in run.rglob("*"):
        name = path.relative_to(run).as_posix()
        if path.is_file() and not path.name.endswith(".lock"):
            contents[name] = path.read_bytes()
    return contents


GOOD = ("made anew", "not read", "written anew")
"""Named and made anew; of no consequence; or made from the rest by every run."""


def after(damage: Damage, recipe: dict[str, Any], whole: Path, again: Path) -> str:
    """Damage a copy of a finished run, run the recipe on it again, compare, and return one of `GOOD`, or
    what is wrong."""
    from rewarddiff.pipeline.commands import run_recipe

    shutil.rmtree(again, ignore_errors=True)
    shutil.copytree(whole, again)
    damage.do(again)
    if damage.name.startswith(KEPT):
        for stage in STAGES:
            shutil.rmtree(again / stage, ignore_errors=True)
    damaged = files_of(again)
    log = Log()
    logger = logging.getLogger("rewarddiff")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            run_recipe({**recipe, "output": str(again)}, [])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        logger.removeHandler(log)
    said = printed.getvalue() + log.text
    others = differences(results(whole), results(again))
    if damage.name.startswith(WRITTEN_BY_EVERY_RUN):
        return f"other results: {others[:3]}" if others else "written anew"
    if others:
        return f"other results: {others[:3]}"
    if files_of(again).get(damage.name) == damaged.get(damage.name):
        return "not read"
    path = Path(damage.name)
    # Of two files that changed places either may be named, with their folder.
    if path.name not in said and f"{path.parent}: made anew" not in said:
        return "made anew without a word"
    return "made anew"


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


def results(run: Path) -> Any:
    """Return the results of a run, wherever it lies, but for the costs, which stand in order of time."""
    content = json.loads((run / "results.json").read_text().replace(str(run), "RUN"))
    del content["costs"]
    return content


def recipe_of(policy: str, encoder: str, output: Path) -> dict[str, Any]:
    """Return a small recipe with a scorer of each kind, a policy, and what is judged."""
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32", "lr": 1e-3, "save_every": 1}
    scorer = {"backbone": encoder, "train": small, "lengths": {"max_response": 48}}
    return {
        "name": "damage",
        "model": policy,
        "output": str(output),
        "data": {"path": "demo", "limit": 16, "splits": {"train": 0.5, "dev": 0.2, "test": 0.3}},
        "lengths": {"max_response": 48},
        "scorers": {
            "reward": {"kind": "reward", **scorer},
            "difference": {"kind": "difference", "warm_start": "reward", **scorer},
        },
        "policies": {
            "dpo": {
                "objective": "dpo",
                "train": small,
                "coefficient": {"source": "difference", "alpha": 0.5, "negative": "abs"},
            }
        },
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
    }


def main() -> None:
    from benchmarks.trace import _models
    from rewarddiff.pipeline.commands import run_recipe

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as place:
        models = _models(Path(place))
        whole = Path(place) / "whole"
        recipe = recipe_of(models["policy"], models["encoder"], whole)
        run_recipe(recipe, [])
        verdicts: Counter[str] = Counter()
        for number, damage in enumerate(damages(whole, count, 0), 1):
            verdict = after(damage, recipe, whole, Path(place) / "again")
            verdicts[verdict] += 1
            print(f"{number}/{count} {damage.name} {damage.how}: {verdict}", flush=True)
    print(dict(verdicts))
    sys.exit(bool(verdicts.keys() - set(GOOD)))


if __name__ == "__main__":
    main()
