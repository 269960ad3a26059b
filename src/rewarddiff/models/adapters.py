"""Adapters, worked into the weights of their base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarddiff.errors import UserError
from rewarddiff.models.reading import explained, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
