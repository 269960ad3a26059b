"""Adapters, worked into the weights of their base."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarddiff import model_files
from rewarddiff.errors import UserError
from rewarddiff.models.reading import explained, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLAIN = re.compile(r"[\w.^$\\-]*")
"""A pattern that repeats nothing: another one can take for ever to be held against one module's name."""

CHOOSING = ("target_modules", "exclude_modules", "layers_pattern")
"""Settings that choose modules, by names or by patterns."""


def with_adapter(
    model: PreTrainedModel, folder: Path, *, partly: bool
) -> tuple[PreTrainedModel, list[str]]:
    """Return the model with a folder's adapter worked in, and the modules it brought whole.

    Args:
        partly: leave out weights that the model has no place for, as those of another head.
    """
    import peft

    with explained(folder), quiet():
        config = peft.PeftConfig.from_pretrained(str(folder))
        _require_mergeable(folder, config)
        _name_modules(folder, config)
        config.task_type = None  # its weights are wanted, whatever head they were trained with
        adapted: Any = peft.PeftModel(model, config)
        report = adapted.load_adapter(str(folder), "default")
        astray = list(report.missing_keys)
        if not partly:
            astray += report.unexpected_keys
        if astray:
            raise UserError(
                f"{folder}: the adapter does not fit its base: {len(astray)} weights have no "
                f"counterpart, as {astray[0]}; name the model it was made on as "
                "base_model_name_or_path"
            )
        return adapted.merge_and_unload(), list(config.modules_to_save or ())


def _require_mergeable(folder: Path, config: Any) -> None:
    """Refuse an adapter that does more than change weights; it may open further files."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type)
    if config.peft_type == "XLORA" or not hasattr(tuner, "merge_and_unload"):
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise UserError(
            f"{folder}: an adapter of type {kind} cannot be worked into weights; give one like LoRA"
        )


def _name_modules(folder: Path, config: Any) -> None:
    """Let an adapter name its modules one by one, by its weights, where its settings have patterns.

    Raises:
        UserError: ranks are given by patterns with repeats.
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    for setting in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, setting, None) or ():
            if not PLAIN.fullmatch(pattern):
                raise UserError(
                    f"{folder}: {setting} in {model_files.ADAPTER} holds a pattern that repeats "
                    f"({pattern}); name the modules"
                )
    if all(map(PLAIN.fullmatch, _patterns(config))):
        return
    prefix = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type].prefix
    config.target_modules = _changed_modules(folder, prefix)
    for setting in ("exclude_modules", "layers_pattern", "layers_to_transform"):
        if hasattr(config, setting):
            setattr(config, setting, None)


def _patterns(config: Any) -> Iterator[str]:
    """Yield the names and patterns by which an adapter chooses modules."""
    for setting in CHOOSING:
        chosen = getattr(config, setting, None) or ()
        yield from [chosen] if isinstance(chosen, str) else chosen


def _changed_modules(folder: Path, prefix: str) -> list[str]:
    """Return the modules that an adapter has weights for; their names go before a dot and `prefix`."""
    from safetensors import safe_open

    with safe_open(folder / model_files.ADAPTER_WEIGHTS, framework="pt") as file:
        keys = list(file.keys())
    changed = set()
    for key in keys:
        module, mark, _ = key.removeprefix("base_model.model.").partition(f".{prefix}")
        if mark:
            changed.add(module)
    return sorted(changed)
