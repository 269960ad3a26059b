"""What the model card of a policy tells of its training on own samples."""

from __future__ import annotations

from rewarddiff.policies.online.config import OnlineConfig, StoredConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig


def settings_of(config: OnlineConfig | SemiOnlineConfig, scorer: str) -> dict[str, str]:
    """Return the settings that say most of a training, by what they are called on the card.

    Args:
        scorer: name of what scored the samples.
    """
    samples = (
        f"{config.num_generations} to each prompt, at temperature {config.temperature:g}, of at most "
        f"{config.max_new_tokens} tokens"
    )
    if isinstance(config, SemiOnlineConfig):
        samples += f", drawn anew every {_counted(config.steps_per_generation, 'step')}"
        return {"samples": samples, "pairs": f"{config.pairs}, by {scorer}"}
    settings = {"samples": samples, "reward": f"{config.reward.kind}, by {scorer}"}
    if config.reward.reads_baseline:
        settings["stored responses"] = _stored(config.baseline)
    settings["KL"] = _kl(config)
    return settings


def _stored(baseline: StoredConfig | None) -> str:
    """Say what a contrastive reward compared with."""
    if baseline is None:
        return "those of the data"
    if baseline.file is not None:
        return "those of a file"
    drawn = f"{baseline.k} to each prompt, of the model as it was before"
    if baseline.refresh is None:
        return drawn
    return f"{drawn}, drawn anew every {_counted(baseline.refresh, 'turn')}"


def _kl(config: OnlineConfig) -> str:
    kl = config.kl
    if kl.kl_coef == 0:
        return "none"
    coefficient = f"coefficient {kl.kl_coef:g} in the {kl.placement}"
    if kl.target_kl is None:
        return coefficient
    return f"{coefficient} to begin with, and {kl.target_kl:g} nats a response as its target"


def _counted(number: int, what: str) -> str:
    return what if number == 1 else f"{number} {what}s"
