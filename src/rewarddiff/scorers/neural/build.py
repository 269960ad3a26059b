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
from typing import Any, get_args

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
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.readers import Reader, RowReader, TreeReader
from rewarddiff.scorers.neural.scorer import Scorer
from rewarddiff.scorers.neural.texts import DecoderTexts, EncoderTexts, Way

HEAD = "head.safetensors"


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


def new_scorer(config: ScorerConfig, *, seed: int = 0) -> Scorer:
    """A scorer to be trained: the backbone with a fresh head, or the trained scorer that
    `warm_start` names.

    Raises:
        UserError: the backbone is no model, or cannot serve this configuration.
    """
    torch.manual_seed(seed)
    scorer = _new_scorer(config)
    _use_distinct_padding(scorer.reader)
    return scorer


def _new_scorer(config: ScorerConfig) -> Scorer:
    if config.warm_start is None:
        backbone = load_backbone(config.backbone)
        models.require_embeddings(backbone.model, backbone.tokenizer, config.backbone)
        scorer = Scorer(config, _reader(backbone, config, None), backbone.tokenizer)
        scorer.prompts = trained_prompts(
            models.resolve(config.backbone)
        )  # where the backbone is itself a scorer
        return scorer
    teacher = load_scorer(config.warm_start)
    scorer = Scorer(config, _warm_reader(teacher, config), teacher.tokenizer)
    scorer.prompts = teacher.prompts
    return scorer


def _warm_reader(teacher: Scorer, config: ScorerConfig) -> Reader:
    """The teacher's body, with its head where that serves this configuration, or else one made of
    it or a fresh one."""
    model, head = teacher.reader.model, teacher.reader.own_head
    backbone = Backbone(
        model, teacher.tokenizer, frozenset(), isinstance(teacher.reader, RowReader)
    )
    alike = config.kind == teacher.kind or config.head != "last"
    if alike and (config.width > 1 or teacher.config.head_count > 1):
        return _reader(backbone, config, _refitted(teacher, config))
    keeps = teacher.config.width == 1 and alike
    if not keeps and backbone.classifies and not backbone.encoder:
        head = fresh_head(model)
        model.score.weight.data.copy_(head.weight.data)  # type: ignore[union-attr, operator]
    return _reader(backbone, config, head if keeps else None)


def _refitted(teacher: Scorer, config: ScorerConfig) -> nn.Linear:
    """A head of other numbers that begins with what a trained one gives, where that can be read
    alike.

    The same heads begin as the teacher's; one with what all of the teacher's say together; several
    each with that and a fresh draw, which is small.
    """
    model: Any = teacher.reader.model
    old, found = teacher.config, fresh_head(model, config.width)
    own = teacher.reader.own_head
    known = (
        own.weight if own is not None else getattr(getattr(model, "score", None), "weight", None)
    )
    if known is None:
        return found
    rows = known.data.reshape(old.head_count, old.head_width, -1)
    fresh = found.weight.data.view(config.head_count, config.head_width, -1)
    if old.head_count == config.head_count and set(old.aspects) == set(config.aspects):
        width, known_aspects = min(old.head_width, config.head_width), list(old.aspects)
        same = [known_aspects.index(name) for name in config.aspects] or list(range(old.head_count))
        fresh[:, :width] = rows[same, :width]
    else:
        said = torch.tensor(old.head_weights, dtype=rows.dtype) @ rows[:, 0]
        fresh[:, 0] = said + fresh[:, 0] * (config.head_count > 1)
    return found


def save_scorer(scorer: Scorer, folder: Path) -> None:
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
        save_file({"weight": reader.own_head.weight.detach().cpu().contiguous()}, fresh / HEAD)
    way = reader.texts.way if isinstance(reader.texts, DecoderTexts) else "whole"
    about = asdict(About(scorer.config, scorer.temperature, scorer.data, scorer.learned, way))
    about = {"format": 1, "kind": scorer.kind, "trained": True, **about}
    (fresh / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    if scorer.prompts is not None:
        hashes = np.array(sorted(int(digits, 16) for digits in scorer.prompts), dtype=np.uint64)
        np.save(fresh / PROMPTS, hashes, allow_pickle=False)
    files.replace(fresh, folder)


def load_scorer(source: str | Path) -> Scorer:
    """Load what `save_scorer` wrote, or any reward model of one label (a TRL RewardTrainer's
    output, …).

    Raises:
        UserError: it is no model, or a model whose head was never trained.
    """
    folder = models.resolve(str(source))  # as a Path it could be no name of the hub
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
            f"{source}: no trained head ({lacking} is not in it); train a scorer on this model first"
        )
    models.require_embeddings(backbone.model, backbone.tokenizer, source)
    if about is None:
        about = About(
            ScorerConfig(backbone=str(source), pooling="cls" if backbone.encoder else "mean")
        )
    head = _saved_head(folder / HEAD, backbone, about.config.width) if own_head else None
    reader = _reader(backbone, about.config, head, about.way)
    if about.way == "apart":
        _use_distinct_padding(reader)
    scorer = Scorer(about.config, reader, backbone.tokenizer)
    scorer.trained, scorer.temperature, scorer.data = True, about.temperature, about.data
    scorer.learned = about.learned
    scorer.name, scorer.prompts = str(source), trained_prompts(folder)
    return scorer


def trained_prompts(folder: Path) -> frozenset[str] | None:
    """Return the hashes of the prompts that a scorer was trained on; None where its folder does not
    say.

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
    """The body with a head: the given one, the model's own, or a fresh one."""
    body: Any
    model, tokenizer, lengths, joint = (
        backbone.model,
        backbone.tokenizer,
        config.lengths,
        not config.pointwise,
    )
    segments = not joint or config.head == "segments"
    room = context(model, tokenizer, encoder=backbone.encoder)
    if backbone.encoder:
        rows = EncoderTexts(tokenizer, lengths, room, joint=joint)
        if config.pooling == "cls":
            if not backbone.classifies:
                raise UserError(
                    f"{config.backbone}: has no classification head of its own; use pooling mean"
                )
            return RowReader(model, None, rows, segments=segments).eval()
        body = model.base_model
        return RowReader(
            body, head or fresh_head(body, config.width), rows, segments=segments
        ).eval()
    texts = DecoderTexts(tokenizer, lengths, room, joint=joint, closed=joint and segments, way=way)
    if head is None and config.width == 1 and isinstance(getattr(model, "score", None), nn.Linear):
        texts.padding = model.config.get_text_config().pad_token_id
        return TreeReader(model, None, texts, segments=segments).eval()
    body = model.base_model
    return TreeReader(body, head or fresh_head(body, config.width), texts, segments=segments).eval()


def _use_distinct_padding(reader: Reader) -> None:
    """Where transformers looks for padding in the readings of a scorer trained here, it finds
    none."""
    texts = reader.texts
    if isinstance(texts, DecoderTexts) and reader.own_head is None:
        use_distinct_padding(reader.model, texts.tokenizer, texts.ends)
        texts.padding = reader.model.config.get_text_config().pad_token_id


def _about(folder: Path) -> About | None:
    """What `rewarddiff_scorer.json` says; None where there is none."""
    path = folder / ABOUT
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text())
        given = dict(said["config"])
        if given.pop("margin", False):  # as it was called before losses had names
            given["loss"] = "margin"
        config = load_recipe(given, [], ScorerConfig)
        temperature = None if said["temperature"] is None else float(said["temperature"])
        way = said.get("way", "apart")
        if way not in get_args(Way):
            raise ValueError(f"way is {way}, should be one of {', '.join(get_args(Way))}")
        about = About(config, temperature, str(said["data"]), dict(said.get("learned", {})), way)
        trained = said["trained"]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: not the description of a scorer ({error}); train the scorer again"
        ) from error
    if trained is not True:
        raise UserError(
            f"{folder}: no trained head (its description says so); train a scorer on this model first"
        )
    return about
