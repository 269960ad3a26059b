"""From groups and coefficients to a trained policy in a Hugging Face folder."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewarddiff import files, launch, models
from rewarddiff.config import at_least, checked, positive
from rewarddiff.forward import LogProbs
from rewarddiff.loop import gathering, sharding
from rewarddiff.loop.items import Joined, Picked, digest
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.optimizers import hold, narrow
from rewarddiff.loop.schedule import batch_at, steps_within
from rewarddiff.loop.train import TrainResult, train
from rewarddiff.models import cards
from rewarddiff.models.cards import Facts
from rewarddiff.policies import adapters
from rewarddiff.policies.card import policy_card
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.objectives import AnyObjective
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.reference import (
    ReferenceMeter,
    Referred,
    read_reference,
    sizes_of,
    with_mismatch,
)
from rewarddiff.processes import once, processes
from rewarddiff.room import room_for
from rewarddiff.sealed import unseal
from rewarddiff.store import Store, fingerprint


@checked
@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters through peft; the reference is the base with the adapter switched off.

    Attributes:
        targets: the layers that get one.
        dora: learn the length of each weight's columns apart (DoRA, arXiv 2402.09353).
        bits: hold the base in 4 or 8 bits, by bitsandbytes.
        merge: save a whole model with the adapter worked in; without, the adapter alone.
    """

    r: int = 8
    alpha: int = 16
    targets: str | list[str] = "all-linear"
    dora: bool = False
    bits: Literal[4, 8] | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "r")
        positive(self, "alpha")


@checked
@dataclass(frozen=True)
class PolicyConfig:
    """How a policy is trained on preferences or demonstrations.

    Attributes:
        objective: the loss, by its name or with its options.
        lora: train adapters instead of all weights.
        train: the loop's settings.
    """

    objective: AnyObjective = field(default_factory=DPO)
    lora: LoraConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.lora is not None and self.lora.bits is not None and self.train.sharding != "none":
            raise ValueError(
                "train.sharding divides whole numbers of a weight: leave out lora.bits"
            )
        if self.lora is not None and self.train.weights != "fp32":
            raise ValueError(
                "train.weights is for training all weights: under lora the base is held in the "
                "precision of training, and adapters are float32; leave it out"
            )


def start_of(
    name: str | Path, config: PolicyConfig, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return what training starts from: the model, with adapters if asked for, and its tokenizer.

    Where training divides its weights, and there are no adapters, the model is divided already.

    Raises:
        UserError: adapters are asked for on an adapter that does not go together with them.
    """
    if config.lora is None:
        # The weights of an adapter are added to whole ones: the loop divides their sum.
        is_whole = len(models.lineage(name)) > 1 or not sharding.is_wanted(config.train)
        return models.load_causal_lm(name) if is_whole else _divided_start(name)
    if not config.lora.merge:
        adapters.require_stackable(name, dora=config.lora.dora)
    model, tokenizer = models.load_causal_lm(name, bits=config.lora.bits)
    adapted: Any = with_adapter(model, config, seed)
    adapted.peft_config["default"].base_model_name_or_path = models.origin(name)
    return adapted, tokenizer


def _divided_start(name: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model, tokenizer = models.load_causal_lm(name, divide=sharding.divide)
    return model.to(processes().device), tokenizer


def with_adapter(model: PreTrainedModel, config: PolicyConfig, seed: int = 0) -> PreTrainedModel:
    """Return the model, where adapters are asked for with fresh ones, drawn by the seed.

    Weights that are not trained are kept in the precision of training; adapters are float32.
    """
    if config.lora is None:
        return model
    import peft
    import torch

    if config.train.precision == "bf16" and config.lora.bits is None:
        narrow(model.parameters())
    settings = peft.LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=0.0,
        target_modules=config.lora.targets,
        use_dora=config.lora.dora,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), models.quiet():
        torch.manual_seed(seed)
        adapted: Any = peft.get_peft_model(model, settings)
    return adapted  # type: ignore[no-any-return]


def train_policy(
    model: PreTrainedModel,
    items: Sequence[PreferenceItem],
    config: PolicyConfig,
    *,
    output: Path,
    weights: str,
    dev: Sequence[PreferenceItem] = (),
    seed: int = 0,
    store: Store | None = None,
    signed: bool = False,
    name: str = "policy",
) -> TrainResult:
    """Train `model` in place; the cost counts the reference pass.

    A checkpoint is left in `output`, for the case that saving the model is interrupted:
    `discard_checkpoint` removes it.

    Args:
        model: a causal LM, with its adapter already around it where one is wanted (`with_adapter`).
        weights: fingerprint of the weights `model` starts from, under which reference
            log-probabilities are stored.
        signed: let negative coefficients through.
    """
    hold(list(model.parameters()), config.train)  # the reference is read as training begins
    with sharding.read_only(model):
        policy = LogProbs(model)
    if config.train.eval_every is None:
        dev = ()
    items, dev, reference_cost = _with_reference(
        policy, items, dev, config, weights=weights, seed=seed, store=store
    )
    tokens = config.train.pass_tokens
    objective = config.objective.over(policy, signed=signed, tokens=tokens)
    result = train(
        objective, items, dev=dev, output=output, config=config.train, seed=seed, name=name
    )
    result.cost.update(reference_cost)
    return result


def _with_reference(
    policy: LogProbs,
    items: Sequence[PreferenceItem],
    dev: Sequence[PreferenceItem],
    config: PolicyConfig,
    *,
    weights: str,
    seed: int,
    store: Store | None,
) -> tuple[Sequence[PreferenceItem], Sequence[PreferenceItem], dict[str, float]]:
    """Return items as the objective reads them, and what reading the reference has cost."""
    reads = config.objective.reads
    if config.lora is not None and config.lora.bits is not None:
        weights = f"{weights} in {config.lora.bits} bits"  # quantised weights answer differently
    made_from = (weights, repr(config), seed, digest(items), digest(dev))
    if "mismatch" in reads:
        items, dev = with_mismatch(items), with_mismatch(dev)
    if "reference" not in reads:
        return items, dev, {"reference_seconds": 0.0, "reference_tokens": 0}
    kept_in = store if launch.is_main() else None  # which has counted for all
    with ReferenceMeter(kept_in, fingerprint("reference cost", *made_from)) as meter:
        trained_on = _trained_on(sizes_of(items), config.train, seed)
        rows = read_reference(
            Joined(Picked(items, trained_on), dev),
            policy,
            config.train,
            weights=weights,
            store=store,
            meter=meter,
        )
    items = Referred(items, rows, trained_on)
    dev = Referred(dev, rows, range(len(dev)), first=len(trained_on))
    return items, dev, {"reference_seconds": meter.seconds, "reference_tokens": meter.tokens}


def _trained_on(sizes: Sequence[int], config: TrainConfig, seed: int) -> Sequence[int]:
    """Return the items that training comes to, rising: with few steps not all of them."""
    steps = steps_within(sizes, config, seed)
    if steps >= math.ceil(len(sizes) / config.batch_size):  # an epoch comes to all
        return range(len(sizes))
    is_used = np.zeros(len(sizes), dtype=bool)
    for step in range(steps):
        is_used[batch_at(len(sizes), step, config, seed)] = True
    used: Sequence[int] = array("q", np.flatnonzero(is_used).tobytes())
    return used


def save_trained(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    lora: LoraConfig | None,
    *,
    facts: Facts,
    objective: str,
) -> None:
    """Save what was trained in `folder` as `folder/model`; what training would go on from is left there.

    Of processes that train together the main one does, and the others wait until it has. Of a divided
    model all give it what they hold, one weight at a time.
    """
    place = folder / "model"
    fresh = None
    if sharding.is_divided(model):
        fresh = once(lambda: files.begin(place))
        gathering.write(model, fresh)

    def saved() -> None:
        if fresh is None:
            save_policy(model, tokenizer, place, lora, facts=facts, objective=objective)
        else:
            _complete(fresh, place, tokenizer, lora, facts, objective)

    once(saved)


def save_policy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    lora: LoraConfig | None = None,
    *,
    facts: Facts | None = None,
    objective: str = "",
) -> None:
    """Save an ordinary Hugging Face folder (or a peft adapter's), in place only when complete.

    A merged model is made on the base's whole weights, also where training held them quantised. An
    adapter that was trained on another one is saved as one adapter of their base, which holds both.
    The model card does not take the place of a user's own README there.

    Args:
        facts: what the card tells of the training, and `objective` of its loss.
    """
    is_adapter = lora is not None and not lora.merge
    saved = [p for p in model.parameters() if p.requires_grad or not is_adapter]
    with room_for(folder, sum(weight.nbytes for weight in saved)):
        fresh = _written(model, folder, lora)
        _complete(fresh, folder, tokenizer, lora, facts or Facts(), objective)


def _written(model: PreTrainedModel, place: Path, lora: LoraConfig | None) -> Path:
    """Write weights and configuration beside `place`, and return where."""
    fresh = files.begin(place)
    if lora is None:
        model.save_pretrained(fresh)
        return fresh
    adapters.save(model, fresh)
    if not lora.merge:
        adapters.stack(fresh)
        return fresh
    merged, _ = models.load_causal_lm(fresh)
    fresh = files.begin(place)
    merged.save_pretrained(fresh)
    return fresh


def _complete(
    fresh: Path,
    place: Path,
    tokenizer: PreTrainedTokenizerBase,
    lora: LoraConfig | None,
    facts: Facts,
    objective: str,
) -> None:
    """Add the tokenizer and the card to what is written, and put it in its place."""
    tokenizer.save_pretrained(fresh)
    is_adapter = lora is not None and not lora.merge
    card = policy_card(tokenizer, facts, objective, adapter=is_adapter)
    cards.put(card, fresh, place)
    unseal(place)
    files.replace(fresh, place)
