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
    "optim": ("train.optimizer",),
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


CALLED_ONLINE = {
    "beta": "kl.kl_coef",
    "init_kl_coef": "kl.kl_coef",
    "kl_loss_coef": "kl.kl_coef",
    "kl_penalty": "kl.kl_estimator",
    "kl_loss_type": "kl.kl_estimator",
    "use_kl_loss": "kl.placement",
    "use_kl_in_reward": "kl.placement",
    "kl_target": "kl.target_kl",
    "kl_horizon": "kl.horizon",
    "loss_type": "loss_agg_mode",
    "adv_estimator": "advantage.estimator",
    "advantage_estimator": "advantage.estimator",
    "scale_rewards": "advantage.scale_rewards",
    "norm_adv_by_std_in_grpo": "advantage.scale_rewards",
    "reward_clip_range": "advantage.reward_clip_range",
    "lambd": "advantage.lam",
    "lam": "advantage.lam",
    "gamma": "advantage.gamma",
    "cliprange": "epsilon",
    "clip_ratio": "epsilon",
    "eps_clip": "epsilon",
    "clip_ratio_low": "epsilon",
    "clip_ratio_high": "epsilon_high",
    "clip_ratio_c": "delta",
    "dual_clip": "delta",
    "value_clip": "cliprange_value",
    "steps_per_generation": "num_mini_batches",
    "num_ppo_epochs": "num_iterations",
    "ppo_epochs": "num_iterations",
    "n_samples_per_prompt": "num_generations",
    "max_completion_length": "max_new_tokens",
    "response_length": "max_new_tokens",
    "generate_max_len": "max_new_tokens",
    "stop_token": "stop",
    "stop_strings": "stop",
    "missing_eos_penalty": "reward.truncation.missing_eos_penalty",
    "stop_properly_penalty_coef": "reward.truncation.stop_properly_penalty_coef",
    "reward_scale": "reward.scale",
}
"""Keys of online trainers (TRL, OpenRLHF, verl) under `policies.NAME.online`."""


def called_here(name: str) -> tuple[str, ...]:
    """Return the keys that do what a key of another toolkit does; none where it is not known.

    >>> called_here("learning_rate")
    ('train.lr',)
    """
    return CALLED_HERE.get(name, ())
