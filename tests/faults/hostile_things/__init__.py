"""Hostile folders and files: code, pickles, absurd sizes, programs in templates, paths that lead elsewhere.

making          what things are made from, and how
programs        code that models bring
pickles         pickles by every name, and arrays
weights         headers and indices that lie
configurations  absurd sizes, other types
tokenizers      texts that swell
adapters        bases and patterns
scorers         descriptions of our own scorers
templates       programs in chat templates
data            rows, datasets and votes
recipes         YAML and overrides
runs            what lies in the folder of a run

What would be executed touches a file that ends in `.ran`.
"""

from __future__ import annotations

from hostile_things import (
    adapters,
    configurations,
    pickles,
    programs,
    scorers,
    tokenizers,
    weights,
)
from hostile_things.data import DATA
from hostile_things.making import Change, Make, Stock, changed
from hostile_things.recipes import OVERRIDES, RECIPES
from hostile_things.runs import RUNS
from hostile_things.templates import TEMPLATES
from hostile_things.weights import gguf

__all__ = [
    "DATA",
    "MODELS",
    "OVERRIDES",
    "RECIPES",
    "RUNS",
    "TEMPLATES",
    "Change",
    "Make",
    "Stock",
    "changed",
    "gguf",
]

MODELS: dict[str, Make] = {
    **programs.MODELS,
    **pickles.MODELS,
    **weights.MODELS,
    **configurations.MODELS,
    **tokenizers.MODELS,
    **adapters.MODELS,
    **scorers.MODELS,
}
"""Models and tokenizers, in the order in which doors take their turns."""
