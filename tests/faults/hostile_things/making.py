"""What things are made from, and how: copies of good folders that are changed, with code and pickles in them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny import edit


@dataclass(frozen=True)
class Stock:
    """What things are made from.

    Attributes:
        policy, encoder, scorer: folders of good models.
        place: an empty folder for the thing.
    """

    policy: Path
    encoder: Path
    scorer: Path
    place: Path

    @property
    def ran(self) -> str:
        """The file that is there once something has been executed."""
        return str(self.place / "evil.ran")

    def model(self, of: str = "policy", name: str = "m") -> Path:
        """Return a copy of a good model."""
        return Path(shutil.copytree(getattr(self, of), self.place / name))


Make = Callable[[Stock], Path]
"""Makes a thing, and returns what is handed to a command."""

Change = Callable[[Path, Stock], object]
"""Makes a good folder a hostile one."""


class Things(dict[str, Make]):
    """Things by their names; decorators add functions by theirs."""

    def made(self, make: Make) -> Make:
        """Add what a function makes."""
        self[make.__name__] = make
        return make

    def model(self, change: Change) -> Change:
        """Add a policy that a function changes."""
        self[change.__name__] = changed(change)
        return change

    def scorer(self, change: Change) -> Change:
        """Add a scorer that a function changes."""
        self[change.__name__] = changed(change, "scorer")
        return change


def changed(change: Change, of: str = "policy") -> Make:
    """Return what makes a changed copy of a good model."""

    def make(stock: Stock) -> Path:
        folder = stock.model(of)
        change(folder, stock)
        return folder

    return make


def edited(name: str, of: str = "policy", **changes: Any) -> Make:
    """Return what makes a copy of a good model, in which a file of JSON has other values."""
    return changed(lambda folder, _: edit(folder / name, **changes), of)


# --- what would be executed ---------------------------------------------------------------------------


class Malice:
    """A pickle that touches a file when it is read."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({self.marker!r}, 'w')",)


def malice(path: Path, stock: Stock) -> Path:
    """Write a pickle that tells when it is read."""
    path.write_bytes(pickle.dumps(Malice(stock.ran)))
    return path


def code(folder: Path, stock: Stock, name: str = "evil.py") -> None:
    """Write a module that tells when it is imported, and has all that a configuration can name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(
        f"open({stock.ran!r}, 'w')\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class Config(LlamaConfig): model_type = 'evil'\n"
        "class Tokenizer(PreTrainedTokenizerFast): pass\n"
        "class Body(LlamaModel): config_class = Config\n"
        "class Policy(LlamaForCausalLM): config_class = Config\n"
        "class Classifier(LlamaForSequenceClassification): config_class = Config\n"
        "def generate(*a, **k): pass\n"
    )


CLASSES = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Body",
    "AutoModelForCausalLM": "evil.Policy",
    "AutoModelForSequenceClassification": "evil.Classifier",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    "AutoProcessor": "evil.Tokenizer",
}
"""What that module has, as configurations name it."""
