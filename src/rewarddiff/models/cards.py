"""Model cards: the README.md of a saved model, as the Hugging Face hub reads it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rewarddiff import files
from rewarddiff.config.written import parse
from rewarddiff.errors import UserError
from rewarddiff.models.names import HUB_NAME, KNOWN, is_path, is_short, resolve
from rewarddiff.version import __version__
from rewarddiff.writing import as_markdown

README = "README.md"
MARK = (
    "<!-- Written by rewarddiff. It is written anew with the model, unless this line is gone. -->"
)
"""Stands in every card of ours: a README without it is somebody's own, and stays."""


@dataclass(frozen=True)
class Facts:
    """What is known of a training that its weights do not tell.

    Attributes:
        base: name of the model that it started from.
        data: name of the data.
        counts: what it held, as {"prompts": 120}.
        figures: what was measured, as {"accuracy on held-out comparisons": 0.71}.
        settings: of the training, as {"samples": "4 to each prompt"}.
    """

    base: str = ""
    data: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading with its paragraphs."""

    title: str
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Card:
    """What a README says.

    Attributes:
        title: of the page.
        task: the hub's name of what the model does (its pipeline_tag).
        library: what loads it.
        tags: further words that the hub finds it by.
        facts: of its training.
        relation: what the model is of its base, as the hub says it: finetune or adapter.
    """

    title: str
    task: str
    library: str
    tags: Sequence[str]
    facts: Facts
    sections: Sequence[Section]
    relation: str = "finetune"

    @property
    def text(self) -> str:
        """The page, with the hub's metadata at its head."""
        head = yaml.safe_dump(self._metadata(), sort_keys=False, allow_unicode=True)
        parts = [f"---\n{head}---\n", f"{MARK}\n", f"# {self.title}\n"]
        for section in self.sections:
            parts.append(f"## {section.title}\n")
            parts += [f"{paragraph}\n" for paragraph in section.paragraphs]
        return "\n".join(parts)

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"library_name": self.library, "pipeline_tag": self.task}
        metadata["tags"] = ["rewarddiff", *self.tags]
        if self.facts.base:
            base = hub_name(self.facts.base)
            if base is not None:
                metadata |= {"base_model": base, "base_model_relation": self.relation}
            metadata |= _licence(self.facts.base)
        return metadata


def training(facts: Facts) -> Section:
    """Return what is told of a training."""
    base = f"from {_shown(facts.base)}, " if facts.base else ""
    rows = [f"Trained {base}by rewarddiff {__version__}."]
    if facts.data:
        rows.append(f"Data: {as_markdown(facts.data)}{_counted(facts.counts)}.")
    elif facts.counts:
        rows.append(f"Data:{_counted(facts.counts).removeprefix(',')}.")
    if facts.settings:
        settings = [f"- {name}: {as_markdown(value)}" for name, value in facts.settings.items()]
        rows.append("\n".join(settings))
    if facts.figures:
        rows.append("\n".join(f"- {name}: {value:.4g}" for name, value in facts.figures.items()))
    return Section("Training", rows)


def _counted(counts: Mapping[str, int]) -> str:
    return "".join(f", {number} {name}" for name, number in counts.items())


def python(*lines: str) -> str:
    """Return a block of Python."""
    return "\n".join(["```python", *lines, "```"])


def shell(*lines: str) -> str:
    """Return a block of commands."""
    return "\n".join(["```sh", *lines, "```"])


def put(text: str, fresh: Path, folder: Path) -> None:
    """Write a card into `fresh`, which is about to replace `folder`; a user's README there stays."""
    earlier = folder / README
    if earlier.is_file() and MARK not in earlier.read_text(encoding="utf-8", errors="replace"):
        shutil.copy2(earlier, fresh / README)
        return
    (fresh / README).write_text(text, encoding="utf-8")


def keep(source: Path, folder: Path) -> None:
    """Give a copy of a model the card of the model that it is a copy of, where that has one."""
    if (source / README).is_file():
        files.write_bytes(folder / README, (source / README).read_bytes())


def _shown(base: str) -> str:
    """Return how a card calls a base: its name on the hub, or its folder's, without the path."""
    return as_markdown(hub_name(base) or f"the model in a folder {Path(base).name}")


def hub_name(name: str) -> str | None:
    """Return a model's name on the hub; of a folder, that of the base its card names.

    It stands in commands that people copy, so a card's text that is no such name is none.
    """
    if is_short(name):
        return KNOWN[name].hub
    base = _metadata_of(name).get("base_model") if is_path(name) else name
    return base if isinstance(base, str) and HUB_NAME.fullmatch(base) else None


def _licence(name: str) -> dict[str, str]:
    """Return the licence of a model as its own card says it; nothing where it says none."""
    metadata = _metadata_of(name)
    keys = ("license", "license_name", "license_link")
    return {key: metadata[key] for key in keys if isinstance(metadata.get(key), str)}


def _metadata_of(name: str) -> dict[str, Any]:
    """Return what a model's card tells the hub; nothing where there is none, or none to be read."""
    try:
        path = resolve(name) / README
    except UserError:
        return {}  # what was trained is saved also where its base has gone
    if not path.is_file():
        return {}
    start, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("---\n")
    if start.strip():
        return {}
    try:
        metadata = parse(rest.partition("\n---")[0], str(path))
    except UserError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
