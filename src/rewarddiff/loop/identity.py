"""What a checkpoint has to be of: all that decides what comes of a training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from importlib import metadata
from typing import Any

import torch
import transformers
from torch import nn

from rewarddiff.config import to_dict
from rewarddiff.loop.contents import contents
from rewarddiff.loop.items import digest
from rewarddiff.loop.job import Job
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.origin import origin
from rewarddiff.processes import processes
from rewarddiff.store import finite
from rewarddiff.version import __version__

CHANGE_NO_RESULT = ("save_every", "track", "sharding")
"""Settings of a training that a checkpoint may differ in."""


def identity_of(job: Job, module: nn.Module) -> dict[str, Any]:
    """Return what a training is told by, by name, as JSON holds it.

    Args:
        module: what is trained, as a whole, with the weights that it starts from.
    """
    config, objective = job.config, job.objective
    settings = asdict(config)
    for name in CHANGE_NO_RESULT:
        del settings[name]
    if config.dropout:
        settings["processes"] = processes().num_processes  # each draws what it drops
    else:
        del settings["microbatch_tokens"]
    options = _options(objective)
    return {
        **settings,
        "seed": job.seed,
        "objective": type(objective).__name__,
        "options": _as_json(options),
        **_as_json(getattr(objective, "besides", {})),
        "code": contents(type(objective), *_classes(options)),
        "data": digest(job.items),
        "dev": digest(job.dev),
        "start": origin(module),
        "version": __version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        **_versions(_libraries(module, config)),
    }


def _options(objective: Any) -> Any:
    """Return what an objective is set to: its `config`, or else all its attributes."""
    if hasattr(objective, "config"):
        return objective.config
    return {name: value for name, value in vars(objective).items() if name != "module"}


def _as_json(settings: Any) -> Any:
    """Return settings as JSON holds them; of what it has no form for, a hash."""
    return json.loads(json.dumps(finite(to_dict(settings)), default=contents))


def _classes(settings: Any) -> Iterator[type]:
    """Yield the class of settings, and those of the settings in them."""
    yield type(settings)
    if is_dataclass(settings) and not isinstance(settings, type):
        for field_of_it in fields(settings):
            yield from _classes(getattr(settings, field_of_it.name))


def _libraries(module: nn.Module, config: TrainConfig) -> set[str]:
    """Return the names of the libraries that compute, besides those that always do."""
    names = {"accelerate"}
    for layer in module.modules():
        names.update(cls.__module__.partition(".")[0] for cls in type(layer).__mro__)
    if config.optimizer != "adamw":
        names.add("bitsandbytes")
    return names - {"rewarddiff", "torch", "transformers"}


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of what is installed, by name."""
    versions = {}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
