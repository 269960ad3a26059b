"""Saving an adapter so that it says what it was trained on, be that itself an adapter."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from rewarddiff import model_files, models
from rewarddiff.errors import UserError

FREE = {
    "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern",
    "target_modules", "init_lora_weights", "task_type", "inference_mode", "revision",
    "base_model_name_or_path", "peft_type", "peft_version", "auto_mapping", "runtime_config",
    "fan_in_fan_out",
}  # fmt: skip
"""What two adapters of plain LoRA may differ in and still add up to one: sizes, places, notes."""


def save(model: Any, folder: Path) -> None:
    """Save the adapter around a model, with the base that its configuration names.

    peft itself would look for the base on the hub, to see whether its vocabulary has grown since;
    here it never does.
    """
    config = model.peft_config["default"]
    base = config.base_model_name_or_path
    config.base_model_name_or_path = None
    model.save_pretrained(folder)
    config.base_model_name_or_path = base
    _name_base(folder, base)


def require_stackable(name: str | Path, *, dora: bool = False) -> None:
    """Raise a UserError where a model is an adapter that a new one cannot be saved together with.

    Args:
        dora: whether the new one is of DoRA, which changes weights by more than a sum.
    """
    import peft

    *earlier, _ = models.lineage(name)
    for folder in earlier:
        with models.explained(folder):
            config = peft.PeftConfig.from_pretrained(str(folder))
        obstacle = "lora.dora cannot be added to it" if dora else _more_than_lora(config)
        if obstacle:
            raise UserError(
                f"{name}: an adapter, and {obstacle}, so that no single adapter holds both; "
                "set lora.merge=true to save a whole model"
            )


def stack(folder: Path) -> None:
    """Replace an adapter that was trained on an adapter by one that holds both, of their base.

    s₁B₁A₁ + s₂B₂A₂ = [B₁ B₂][s₁A₁; s₂A₂]: ranks add up, and nothing is lost.
    """
    import peft
    from transformers import AutoModelForCausalLM

    *parts, base = models.lineage(folder)
    if len(parts) == 1:
        return
    name = models.origin(str(model_files.base_of(parts[-1])))
    model, _ = models.load_model(AutoModelForCausalLM, base, dtype="float32")
    labels = [f"part-{i}" for i in range(len(parts))]
    with models.explained(folder), models.quiet():
        newest = peft.PeftConfig.from_pretrained(str(parts[0]))
        stacked: Any = peft.get_peft_model(model, newest, adapter_name=labels[0])
        for label, part in zip(labels, parts, strict=True):
            stacked.load_adapter(str(part), label)
        stacked.add_weighted_adapter(labels, [1.0] * len(parts), "default", combination_type="cat")
        stacked.peft_config["default"].base_model_name_or_path = None
        stacked.save_pretrained(folder, selected_adapters=["default"])
    _name_base(folder, name)


def _more_than_lora(config: Any) -> str:
    """Return what an adapter does beyond adding BA to weights; "" where it is plain LoRA."""
    import peft

    if not isinstance(config, peft.LoraConfig):
        kind = getattr(config.peft_type, "value", config.peft_type)
        return f"one of type {kind}"
    if not isinstance(config.target_modules, set | list):
        return "one whose target_modules are a pattern"
    plain = peft.LoraConfig()
    for setting in fields(config):
        name = setting.name
        if name not in FREE and getattr(config, name) != getattr(plain, name):
            return f"one with {name}"
    return ""


def _name_base(folder: Path, base: str) -> None:
    path = folder / model_files.ADAPTER
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
