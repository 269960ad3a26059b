"""Keys as TRL and transformers have them, and what they are called here."""

from __future__ import annotations

CALLED_HERE = {
    "learning_rate": ("train.lr",),
    "per_device_train_batch_size": ("train.batch_size",),
    "train_batch_size": ("train.batch_size",),
    "gradient_accumulation_steps": ("train.batch_size", "train.microbatch_tokens"),
    "num_train_epochs": ("train.epochs",),
    "num_epochs": ("train.epochs",),
    "max_steps": ("train.max_steps",),
    "lr_scheduler_type": ("train.schedule",),
    "warmup_ratio": ("train.warmup",),
    "warmup_steps": ("train.warmup",),
    "max_grad_norm": ("train.max_grad_norm",),
    "weight_decay": ("train.weight_decay",),
    "bf16": ("train.precision",),
    "fp16": ("train.precision",),
    "eval_steps": ("train.eval_every",),
    "save_steps": ("train.save_every",),
    "report_to": ("train.track",),
    "beta": ("objective.beta",),
    "loss_type": ("objective",),
    "label_smoothing": ("objective.label_smoothing",),
    "peft_config": ("lora",),
    "use_peft": ("lora",),
    "lora_r": ("lora.r",),
    "lora_alpha": ("lora.alpha",),
    "lora_target_modules": ("lora.targets",),
    "max_prompt_length": ("lengths.max_prompt",),
    "max_completion_length": ("lengths.max_response",),
    "max_length": ("lengths.max_response", "lengths.max_prompt"),
    "model_name_or_path": ("backbone", "model"),
    "dataset_name": ("data.path",),
    "dataset_split": ("data.split",),
    "output_dir": ("output",),
    "run_name": ("name",),
}
"""Of several, those that the part has in which the key stands."""


def called_here(name: str) -> tuple[str, ...]:
    """Return the keys that do what a key of another toolkit does; none where it is not known.

    >>> called_here("learning_rate")
    ('train.lr',)
    """
    return CALLED_HERE.get(name, ())
