"""Putting a scorer together, saving it, and loading it again.

A scorer's folder is an ordinary Hugging Face folder (config, safetensors, tokenizer) with
`rewarddiff_scorer.json` beside it. Decoders, and encoders with pooling cls, are sequence
classification models of one label, and a reward model so saved scores the same when loaded with
AutoModelForSequenceClassification. An encoder with pooling mean has no such form, nor has a scorer
of several heads, a difference model of head general, or a decoder for which transformers has no
such class: its folder holds the bare model, and `head.safetensors` the head's weight.
`rewarddiff_prompts.npy` holds the hashes of the prompts that it was trained on, 8 bytes each. No
pickle is read or written.

A model without `rewarddiff_scorer.json` was trained elsewhere, and is read as transformers and TRL
read it, with its own padding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rewarddiff import files, models
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.model_files import ABOUT, PROMPTS
from rewarddiff.scorers.neural.backbones import (
    Backbone,
    context,
    fresh_head,
    load_backbone,
    use_distinct_padding,
)
from rewarddiff.scorers.neural.config import Last, ScorerConfig, Segments
from rewarddiff.scorers.neural.readers import Reader, RowReader, TreeReader
from rewarddiff.scorers.neural.scorer import NeuralScorer, scorer_of
from rewarddiff.scorers.neural.texts import DecoderTexts, EncoderTexts, Way

HEAD = "head.safetensors"

JOINT_OPTIONS = ("orders", "duplication", "reverse", "regulariser")
HEAD_OPTIONS = {"general": ("rank",), "segments": JOINT_OPTIONS, "last": JOINT_OPTIONS}
"""In files of format 1 these stand beside the head's name."""


@dataclass(frozen=True)
class About:
    """What stands in `rewarddiff_scorer.json`, besides the format and `trained`.

    Attributes:
        way: of `DecoderTexts`, how responses are read; files of before it was written down do
            without, and mean apart.
    """

    config: ScorerConfig
    temperature: float | None = None
    data: str = ""
    learned: dict[str, list[float]] = field(default_factory=dict)
    way: Way = "whole"


def new_scorer(config: ScorerConfig, *, seed: int = 0) -> NeuralScorer:
    """Return a scorer to be trained: the backbone with a fresh head, or what `warm_start` names.

    Raises:
        UserError: the backbone is no model, or cannot serve this configuration.
    """
    torch.manual_seed(seed)
    scorer = _new_scorer(config)
    _use_distinct_padding(scorer.reader)
    return scorer


def _new_scorer(config: ScorerConfig) -> NeuralScorer:
    if config.warm_start is None:
        backbone = load_backbone(config.backbone)
        models.require_embeddings(backbone.model, backbone.tokenizer, config.backbone)
        scorer = scorer_of(config, _reader(backbone, config, None), backbone.tokenizer)
        # The backbone may itself be a scorer.
        scorer.prompts = trained_prompts(models.resolve(config.backbone))
        return scorer
    teacher = load_scorer(config.warm_start)
    scorer = scorer_of(config, _warm_reader(teacher, config), teacher.tokenizer)
    scorer.prompts = teacher.prompts
    return scorer


def _warm_reader(teacher: NeuralScorer, config: ScorerConfig) -> Reader:
    """Return a reader with the teacher's body.

    Its head is the teacher's where that serves this configuration, or one made of it, or a fresh
    one.
    """
    model = teacher.reader.model
    is_encoder = isinstance(teacher.reader, RowReader)
    backbone = Backbone(model, teacher.tokenizer, frozenset(), is_encoder)
    # Head last reads a joint text at its end, as no other head is read.
    alike = config.kind == teacher.kind or not isinstance(config.head, Last)
    if alike and (config.width > 1 or teacher.config.head_count > 1):
        return _reader(backbone, config, _refitted(teacher, config))
    if alike and teacher.config.width == 1:
        return _reader(backbone, config, teacher.reader.own_head)
    if backbone.classifies and not is_encoder:
        fresh = fresh_head(model)
        model.score.weight.data.copy_(fresh.weight.data)  # type: ignore[union-attr, operator]
    return _reader(backbone, config, None)


def _refitted(teacher: NeuralScorer, config: ScorerConfig) -> nn.Linear:
    """Return a head of other numbers that begins with what a trained one gives.

    The same heads begin as the teacher's; one with what all of the teacher's say together; several
    each with that and a fresh draw, which is small. An architecture's own head of another kind
    cannot be read so, and all is fresh.
    """
    old = teacher.config
    head = fresh_head(teacher.reader.model, config.width)
    weight = _head_weight(teacher.reader)
    if weight is None:
        return head
    rows = weight.data.reshape(old.head_count, old.head_width, -1)
    fresh = head.weight.data.view(config.head_count, config.head_width, -1)
    if old.head_count == config.head_count and set(old.aspects) == set(config.aspects):
        order = list(range(old.head_count))
        if config.aspects:
            order = [list(old.aspects).index(name) for name in config.aspects]
        width = min(old.head_width, config.head_width)
        fresh[:, :width] = rows[order, :width]
        return head
    together = torch.tensor(old.head_weights, dtype=rows.dtype) @ rows[:, 0]
    if config.head_count > 1:
        fresh[:, 0] += together
    else:
        fresh[:, 0] = together
    return head


def _head_weight(reader: Reader) -> torch.Tensor | None:
    """Return the weight of the linear head that a reader has; None of an architecture's own kind."""
    if reader.own_head is not None:
        return reader.own_head.weight
    weight: torch.Tensor | None = getattr(getattr(reader.model, "score", None), "weight", None)
    return weight


def save_scorer(scorer: NeuralScorer, folder: Path) -> None:
    """Write the folder beside its place and rename it into place when it is complete.

    Raises:
        UserError: the scorer was never trained.
    """
    if not scorer.trained:
        raise UserError(f"{folder}: this scorer was never trained; train it before saving it")
    fresh = files.begin(folder)
    reader = scorer.reader
    reader.model.save_pretrained(fresh)
    scorer.tokenizer.save_pretrained(fresh)
    if reader.own_head is not None:
        weight = reader.own_head.weight.detach().cpu().contiguous()
        save_file({"weight": weight}, fresh / HEAD)
    way = reader.texts.way if isinstance(reader.texts, DecoderTexts) else "whole"
    about = asdict(About(scorer.config, scorer.temperature, scorer.data, scorer.learned, way))
    about = {"format": 2, "kind": scorer.kind, "trained": True, **about}
    (fresh / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    if scorer.prompts is not None:
        hashes = np.array(sorted(int(digits, 16) for digits in scorer.prompts), dtype=np.uint64)
        np.save(fresh / PROMPTS, hashes, allow_pickle=False)
    files.replace(fresh, folder)


def load_scorer(source: str | Path) -> NeuralScorer:
    """Load what `save_scorer` wrote, or any reward model of one label, as a TRL RewardTrainer's.

    Raises:
        UserError: it is no model, or a model whose head was never trained.
    """
    # As a Path it could be no name of the hub.
    folder = models.resolve(str(source))
    about = _about(folder)
    own_head = (folder / HEAD).exists()
    backbone = load_backbone(str(source), bare=own_head)
    if backbone.labels not in (None, 1):
        raise UserError(
            f"{source}: a classifier of {backbone.labels} labels; a reward model has one"
        )
    if backbone.missing or not (own_head or backbone.classifies):
        lacking = min(backbone.missing, default=HEAD)
        raise UserError(
            f"{source}: no trained head ({lacking} is not in it); "
            "train a scorer on this model first"
        )
    models.require_embeddings(backbone.model, backbone.tokenizer, source)
    if about is None:
        pooling: Literal["cls", "mean"] = "cls" if backbone.encoder else "mean"
        about = About(ScorerConfig(backbone=str(source), pooling=pooling))
    head = _saved_head(folder / HEAD, backbone, about.config.width) if own_head else None
    reader = _reader(backbone, about.config, head, about.way)
    if about.way == "apart":
        _use_distinct_padding(reader)
    scorer = scorer_of(about.config, reader, backbone.tokenizer)
    scorer.trained = True
    scorer.temperature = about.temperature
    scorer.data = about.data
    scorer.learned = about.learned
    scorer.name = str(source)
    scorer.prompts = trained_prompts(folder)
    return scorer


def trained_prompts(folder: Path) -> frozenset[str] | None:
    """Return the hashes of the prompts that a scorer was trained on.

    None where its folder does not say.

    Raises:
        UserError: the file of hashes is none.
    """
    path = folder / PROMPTS
    if not path.exists():
        return None
    try:
        hashes = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a list of hashes ({error}); copy the scorer again, or remove the file"
        ) from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise UserError(
            f"{path}: not a list of hashes of 64 bits; copy the scorer again, or remove the file"
        )
    return frozenset(f"{value:016x}" for value in hashes.tolist())


def _saved_head(file: Path, backbone: Backbone, width: int) -> nn.Linear:
    head = fresh_head(backbone.model, width)
    with models.explained(file):
        head.load_state_dict(load_file(file))
    return head


def _reader(
    backbone: Backbone, config: ScorerConfig, head: nn.Linear | None, way: Way = "whole"
) -> Reader:
    """Return the body with a head: the given one, the model's own, or a fresh one."""
    model: Any = backbone.model
    tokenizer = backbone.tokenizer
    joint = not config.reads_apart
    segments = not joint or isinstance(config.head, Segments)
    room = context(model, tokenizer, encoder=backbone.encoder)
    if backbone.encoder:
        rows = EncoderTexts(tokenizer, config.lengths, room, joint=joint)
        if config.pooling == "cls":
            if not backbone.classifies:
                raise UserError(
                    f"{config.backbone}: has no classification head of its own; use pooling mean"
                )
            return RowReader(model, None, rows, segments=segments).eval()
        body = model.base_model
        if head is None:
            head = fresh_head(body, config.width)
        return RowReader(body, head, rows, segments=segments).eval()
    closed = joint and segments
    texts = DecoderTexts(tokenizer, config.lengths, room, joint=joint, closed=closed, way=way)
    has_own_head = isinstance(getattr(model, "score", None), nn.Linear)
    if head is None and config.width == 1 and has_own_head:
        texts.padding = model.config.get_text_config().pad_token_id
        return TreeReader(model, None, texts, segments=segments).eval()
    body = model.base_model
    if head is None:
        head = fresh_head(body, config.width)
    return TreeReader(body, head, texts, segments=segments).eval()


def _use_distinct_padding(reader: Reader) -> None:
    """See to it that transformers finds no padding in the readings of a scorer trained here."""
    texts = reader.texts
    if isinstance(texts, DecoderTexts) and reader.own_head is None:
        use_distinct_padding(reader.model, texts.tokenizer, texts.ends)
        texts.padding = reader.model.config.get_text_config().pad_token_id


def _current(config: dict[str, Any]) -> dict[str, Any]:
    """Return a scorer's saved configuration in today's spelling."""
    # Before losses had names.
    if config.pop("margin", False):
        config["loss"] = "margin"
    # Before heads had options of their own.
    if isinstance(config.get("head"), str):
        head = {"name": config["head"]}
        for option in HEAD_OPTIONS.get(config["head"], ()):
            if option in config:
                head[option] = config[option]
        for option in ("rank", "together", *JOINT_OPTIONS):
            config.pop(option, None)
        config["head"] = head
    return config


def _about(folder: Path) -> About | None:
    """Return what `rewarddiff_scorer.json` says; None where there is none."""
    path = folder / ABOUT
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        config = load_recipe(_current(dict(saved["config"])), [], ScorerConfig)
        temperature = saved["temperature"]
        if temperature is not None:
            temperature = float(temperature)
        way = saved.get("way", "apart")
        if way not in get_args(Way):
            raise ValueError(f"way is {way}, should be one of {', '.join(get_args(Way))}")
        learned = dict(saved.get("learned", {}))
        about = About(config, temperature, str(saved["data"]), learned, way)
        trained = saved["trained"]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: not the description of a scorer ({error}); train the scorer again"
        ) from error
    if trained is not True:
        raise UserError(
            f"{folder}: no trained head (its description says so); "
            "train a scorer on this model first"
        )
    return about
