"""The first stage: data read once, counted and split; and what all stages of a run share."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewarddiff import launch
from rewarddiff.data import Groups, Ledger, Reason, load_groups, prompt_hashes, sources, split
from rewarddiff.data.files import name_of
from rewarddiff.data.thinning import thin
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.models.cards import Facts
from rewarddiff.outputs import file_for, held_file_for
from rewarddiff.pipeline.judge_account import Accounted
from rewarddiff.pipeline.recipe import DataConfig, Recipe
from rewarddiff.pipeline.stage import Stage
from rewarddiff.processes import main_first, once
from rewarddiff.records import Comparison, Group
from rewarddiff.remembering import open_store
from rewarddiff.store import Store, fingerprint
from rewarddiff.writing import say

COUNTS = 2
"""Raised when the manifest tells more, or otherwise: that of an earlier run is then made anew."""


@contextmanager
def file_made_of(
    data: str | Path | Sequence[str | Path],
    output: Path,
    split: str | None = None,
    *,
    held: bool = False,
) -> Iterator[None]:
    """Guard a file as `file_for` does, also against being read as data.

    Args:
        data: one source, or several.
        held: also against a second command that makes it at the same time, see `held_file_for`.

    Raises:
        UserError: the output would be lost or read as data; the data is not there, or cannot be
            read.
    """
    several = [data] if isinstance(data, str | Path) else data
    read: list[Path] = []
    for source in several:
        read += sources.paths(source, split)
    if any(sources.takes_in(source, output) for source in several):
        raise UserError(
            f"{output}: lies in the data's folder, and would be read as data there; choose another "
            "output"
        )
    guard = held_file_for if held else file_for
    with guard(output, read):
        yield


@dataclass
class Run:
    """A recipe being carried out: where it writes, and what all its stages share.

    Attributes:
        splits: groups by split. tests: by name, those of further files.
        data: hash of the groups of every split.
        prepared: the manifest of the data stage.
        stages: those it has made or found done, by their folders in `output`. made: the former's folders.
        judges: language models that were asked in this process, by name.
    """

    recipe: Recipe
    output: Path
    splits: dict[str, Groups]
    tests: dict[str, Groups]
    data: str
    store: Store
    prepared: Mapping[str, Any] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    judges: dict[str, Accounted] = field(default_factory=dict)

    @property
    def held_out(self) -> dict[str, Groups]:
        """What scorers are evaluated on: the test split, and every file of `data.tests`."""
        if "test" not in self.splits:
            return self.tests
        return {"test": self.splits["test"], **self.tests}

    def stage(self, folder: str, name: str, **inputs: Any) -> Stage:
        stage = Stage(self.output / folder, name, {"data": self.data, **inputs})
        if stage.anew:
            self.say(f"{folder}: made anew, {stage.anew}")
        if not stage.done:
            self.made.add(folder)
        self.stages[folder] = stage
        return stage

    def say(self, text: str) -> None:
        say(text)


def facts_of(run: Run, base: str, figures: Mapping[str, float] | None = None) -> Facts:
    """Return what the card of a model tells that was trained in this run.

    Args:
        base: name of the model that it started from.
        figures: what was measured.
    """
    split = run.prepared["splits"]["train"]
    names = {"groups": "prompts", "comparisons": "comparisons", "labels": "labelled responses"}
    counts = {names[key]: number for key, number in split.items() if number}
    return Facts(base, name_of(run.recipe.data.path), counts, figures or {})


def prepare(
    recipe: Recipe,
    output: Path,
    *,
    again: bool = False,
    kind: type[Run] = Run,
    store: Store | None = None,
) -> Run:
    """Read the data once into `output/data`, count what was dropped, and split it by prompt.

    Args:
        kind: of the run that is returned.
        again: of a finished run, to go on with what it held out: other data is refused, and nothing
            is written.
        store: of the folder, where it is open already.

    Raises:
        UserError: data that cannot be read, too much of it dropped, or other data than the run's.
    """
    data = recipe.data
    if not again:
        once(lambda: _remove_begun(output / "cache"))
    ledger = Ledger()
    test_ledgers = {label: Ledger() for label in data.tests}
    with Meter() as meter:
        # What the main process has read the others find in the cache.
        groups = main_first(lambda: _groups(data, output / "cache", ledger))
        splits = split(groups, data.splits, data.seed)
        tests = main_first(lambda: _tests(data, output / "cache", test_ledgers, splits))
    counts = {name: _counts(part) for name, part in splits.items()}
    identity = content_by_split(splits)
    test_contents = {label: content(test) for label, test in tests.items()}
    earlier = Stage.found(output / "data").get("inputs", {})
    if again and (earlier.get("data"), earlier.get("tests")) != (identity, test_contents):
        raise UserError(
            f"{data.path}: is not as it was when {output} was made; run the recipe again"
        )
    store = store or open_store(output / "store.sqlite")
    run = kind(recipe, output, splits, tests, identity, store)
    stage = run.stage("data", "prepare", tests=test_contents, counts=COUNTS)
    if not stage.done:
        ledgers = {label: test_ledger.to_dict() for label, test_ledger in test_ledgers.items()}
        stage.finish(splits=counts, ledger=ledger.to_dict(), tests=ledgers, cost=meter.cost())
    if not again:
        print_losses(ledger)
        for label, test_ledger in test_ledgers.items():
            print_losses(test_ledger, label)
    run.prepared = stage.manifest
    return run


def _remove_begun(cache: Path) -> None:
    """Remove what a killed run has begun to write: this one alone writes here."""
    for begun in cache.glob("*.part"):
        begun.unlink()


def _groups(data: DataConfig, cache: Path, ledger: Ledger) -> Groups:
    """Return the groups of a recipe's data, with no more comparisons than it asks for."""
    groups = load_groups(
        data.path,
        format=data.format,
        split=data.split,
        columns=data.columns,
        limit=data.limit,
        ledger=ledger,
        max_drop=data.max_drop,
        cache=cache,
    )
    most = data.max_comparisons
    if most is None:
        return groups
    place = cache / f"thin-{most}.arrow"
    if not launch.is_main():  # which has just written it
        return Groups.open(place)
    return Groups.write((thin(group, most, data.seed) for group in groups), place)


def _tests(
    data: DataConfig, cache: Path, ledgers: Mapping[str, Ledger], splits: Mapping[str, Groups]
) -> dict[str, Groups]:
    """Return the groups of further test files, and count those whose prompts are trained on."""
    tests = {}
    for label, path in data.tests.items():
        tests[label] = load_groups(
            path,
            columns=data.columns,
            strict=False,
            ledger=ledgers[label],
            max_drop=data.max_drop,
            cache=cache,
        )
    if tests:
        trained_on = prompt_hashes(splits["train"])
        for label, test in tests.items():
            count_trained_on(test, trained_on, ledgers[label])
    return tests


def print_losses(ledger: Ledger, label: str = "") -> None:
    """Print a ledger in which something was dropped or changed."""
    if ledger.dropped or ledger.changed:
        say(f"{label}: {ledger.table()}".removeprefix(": "))


def count_trained_on(test: Iterable[Group], trained_on: Collection[str], ledger: Ledger) -> None:
    """Count the test groups whose prompt is among those trained on.

    Figures on them are not of new prompts.

    Args:
        trained_on: see `prompt_hashes`.
    """
    for group in test:
        if not prompt_hashes([group]).isdisjoint(trained_on):
            ledger.change(Reason.IN_TRAINING, group, "the prompt is also in the training split")


def _counts(groups: Groups) -> dict[str, int]:
    """Count groups, comparisons, and labels of single responses in a split."""
    compared = labelled = 0
    for group in groups:
        compared += len(comparisons(group))
        labelled += len(list(group.known_labels()))
    return {"groups": len(groups), "comparisons": compared, "labels": labelled}


def content_by_split(splits: Mapping[str, Groups]) -> str:
    """Return a hash of which groups are in which split: whatever dealt them out, it is in the hash."""
    return fingerprint({name: content(groups) for name, groups in splits.items()})


def content(groups: Iterable[Group]) -> str:
    """Return a hash of all groups, one after the other: they need not fit in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for group in groups:
        values = asdict(group) | {"source": ""}
        # What was made from data without these, or from turns without extras, is still good.
        for name in ("labels", "subset", "styles"):
            if not values[name]:
                del values[name]
        for comparison in values["comparisons"]:
            if comparison["coefficient"] is None:
                del comparison["coefficient"]
        if not isinstance(group.prompt, str):
            for turn in values["prompt"]:
                if not turn["extras"]:
                    del turn["extras"]
        digest.update(fingerprint(values).encode())
    return digest.hexdigest()


def comparisons(group: Group) -> list[Comparison]:
    """Return the comparisons that a policy is trained on: ties say nothing of which."""
    return [c for c in group.known_comparisons() if not c.tie]
