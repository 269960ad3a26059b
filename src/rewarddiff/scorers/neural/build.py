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
read it, with its own padding; `foreign` knows how other toolkits save one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rewarddiff import files, models
from rewarddiff.errors import UserError
from rewarddiff.models import cards
from rewarddiff.models.cards import Facts
from rewarddiff.room import room_for
from rewarddiff.scorers.neural import foreign
from rewarddiff.scorers.neural.about import (
    About,
    read_about,
    trained_prompts,
    write_about,
    write_prompts,
)
from rewarddiff.scorers.neural.backbones import (
    Backbone,
    context,
    fresh_head,
    load_backbone,
    use_distinct_padding,
)
from rewarddiff.scorers.neural.card import scorer_card
from rewarddiff.scorers.neural.config import Last, ScorerConfig, Segments
from rewarddiff.scorers.neural.export import obstacle
from rewarddiff.scorers.neural.readers import Reader, RowReader, TreeReader
from rewarddiff.scorers.neural.scorer import NeuralScorer, scorer_of
from rewarddiff.scorers.neural.texts import DecoderTexts, EncoderTexts, Way
from rewarddiff.sealed import unseal

logger = logging.getLogger(__name__)

HEAD = "head.safetensors"


def new_scorer(config: ScorerConfig, *, seed: int = 0) -> NeuralScorer:
    """Return a scorer to be trained: the backbone with a fresh head, or what `warm_start` names.

    Raises:
        UserError: the backbone is no model, or cannot serve this configuration.
    """
    torch.manual_seed(seed)
    if config.warm_start is not None:
        return _warm_scorer(config, load_scorer(config.warm_start))
    backbone = load_backbone(config.backbone)
    models.require_embeddings(backbone.model, backbone.tokenizer, config.backbone)
    scorer = scorer_of(config, _reader(backbone, config, None), backbone.tokenizer)
    _use_distinct_padding(scorer.reader)
    # The backbone may itself be a scorer.
    scorer.prompts = trained_prompts(models.resolve(config.backbone))
    return scorer


def _warm_scorer(config: ScorerConfig, teacher: NeuralScorer) -> NeuralScorer:
    """Return a scorer that begins where a trained one is."""
    reads_earlier = _takes_the_end_for_padding(teacher.reader)
    scorer = scorer_of(config, _warm_reader(teacher, config), teacher.tokenizer)
    scorer.prompts = teacher.prompts
    if reads_earlier and config.kind == "reward" and scorer.reader.own_head is None:
        # The head learned to read before the end token; read at it, it would give other rewards.
        return scorer
    _use_distinct_padding(scorer.reader)
    if reads_earlier and config.reads_apart:
        logger.warning(
            "%s: its padding token is its end token, and its head learned to read before that; "
            "several numbers are read at the end token, so this scorer begins with other rewards",
            teacher.name,
        )
    is_encoder = isinstance(scorer.reader, RowReader)
    if is_encoder and config.kind == teacher.kind and config.pooling != teacher.config.pooling:
        logger.warning(
            "%s: its head reads by pooling %s; with pooling %s the head begins anew",
            teacher.name,
            teacher.config.pooling,
            config.pooling,
        )
    return scorer


def _takes_the_end_for_padding(reader: Reader) -> bool:
    """Whether the model's own head reads a text before its end token.

    It does where padding is the end token: transformers reads at the last token that is no padding.
    """
    texts = reader.texts
    if not isinstance(texts, DecoderTexts) or texts.joint or reader.own_head is not None:
        return False
    return texts.padding in texts.ends


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


def save_scorer(scorer: NeuralScorer, folder: Path, facts: Facts | None = None) -> None:
    """Write the folder beside its place and rename it into place when it is complete.

    Its model card does not take the place of a user's own README there.

    Args:
        facts: what the card tells of the training.

    Raises:
        UserError: the scorer was never trained.
    """
    if not scorer.trained:
        raise UserError(f"{folder}: this scorer was never trained; train it before saving it")
    with room_for(folder, sum(weight.nbytes for weight in scorer.reader.parameters())):
        _save(scorer, folder, facts or Facts())


def _save(scorer: NeuralScorer, folder: Path, facts: Facts) -> None:
    fresh = files.begin(folder)
    reader = scorer.reader
    _declare_reward(reader)
    reader.model.save_pretrained(fresh)
    scorer.tokenizer.save_pretrained(fresh)
    if reader.own_head is not None:
        save_file(_contiguous(reader.own_head.state_dict()), fresh / HEAD)
    way = reader.texts.way if isinstance(reader.texts, DecoderTexts) else "whole"
    write_about(fresh, About(scorer.config, scorer.temperature, scorer.data, scorer.learned, way))
    if scorer.prompts is not None:
        write_prompts(fresh, scorer.prompts)
    reason = obstacle(scorer)
    if reason is not None:
        logger.info("%s: %s", folder, reason)
    cards.put(scorer_card(scorer, facts), fresh, folder)
    unseal(folder)
    files.replace(fresh, folder)


def _declare_reward(reader: Reader) -> None:
    """See to it that other programs give the number that is read here, and nothing made of it.

    vLLM puts the number of a model that is no regression through a sigmoid. Padding before a text
    would move the positions of what is read behind it. Without a token for padding transformers
    reads no batch.
    """
    config: Any = reader.model.config
    if reader.own_head is None:
        config.problem_type = "regression"
        if config.get_text_config().pad_token_id is None:
            _use_distinct_padding(reader)
    texts: Any = reader.texts
    texts.tokenizer.padding_side = "right"


def _contiguous(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def load_scorer(source: str | Path) -> NeuralScorer:
    """Load what `save_scorer` wrote, or a reward model of one or two labels trained elsewhere.

    That is one of transformers or TRL, or a language model with a value head (see `foreign`).

    Raises:
        UserError: it is no model, or a model whose head was never trained.
    """
    # As a Path it could be no name of the hub.
    folder = models.resolve(str(source))
    about = read_about(folder)
    width = about.config.width if about is not None else 1
    backbone, head = _loaded(str(source), folder, width)
    models.require_embeddings(backbone.model, backbone.tokenizer, source)
    if about is None:
        pooling: Literal["cls", "mean"] = "cls" if backbone.encoder else "mean"
        about = About(ScorerConfig(backbone=str(source), pooling=pooling))
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


def _loaded(source: str, folder: Path, width: int) -> tuple[Backbone, nn.Linear | None]:
    """Return a trained body, and its head where that stands beside the model.

    Args:
        width: numbers that a head of this package's gives.

    Raises:
        UserError: the folder has no trained head, or a classifier's of three labels and more.
    """
    if (folder / HEAD).exists():
        backbone = load_backbone(source, bare=True)
        return backbone, _saved_head(folder / HEAD, backbone, width)
    labels = foreign.declared_labels(source)
    if labels is None:
        head = foreign.value_head(source, models.load_config(source))
        if head is not None:
            return load_backbone(source, renamed=foreign.renamed(source)), head
    if labels not in (None, 1, 2):
        raise UserError(
            f"{source}: a classifier of {labels} labels; a reward model has one, "
            "or two of which one is the better"
        )
    backbone = load_backbone(source, labels=labels or 1)
    if backbone.missing or not backbone.classifies:
        lacking = min(backbone.missing, default=HEAD)
        raise UserError(
            f"{source}: no trained head ({lacking} is not in it); "
            "train a scorer on this model first"
        )
    if labels == 2:
        names: Any = backbone.model.config.id2label
        foreign.join_labels(backbone.model, foreign.better_label(source, names), source)
    return backbone, None


def _saved_head(file: Path, backbone: Backbone, width: int) -> nn.Linear:
    with models.explained(file):
        weights = load_file(file)
        head = fresh_head(backbone.model, width, bias="bias" in weights)
        head.load_state_dict(weights)
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
