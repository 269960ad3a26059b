"""Models and tokenizers, loaded from their folders: whole, or refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewarddiff import model_files
from rewarddiff.errors import UserError
from rewarddiff.models.adapters import with_adapter
from rewarddiff.models.dividing import Divide, divided_lm, require_tied
from rewarddiff.models.names import lineage
from rewarddiff.models.reading import explained, read
from rewarddiff.tokenizer_files import require_loaded, require_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_causal_lm(
    name: str | Path,
    *,
    dtype: torch.dtype | str = "float32",
    bits: Literal[4, 8] | None = None,
    divide: Divide | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a language model, in eval mode, and its tokenizer (with a pad token).

    Args:
        bits: quantise the weights of linear layers while loading, by bitsandbytes; for training
            adapters only.
        divide: divides the model over processes, each of which then reads its own rows of every
            weight; all of them call this together.

    Raises:
        UserError: no such model, one without the weights of a language model, or no bitsandbytes to
            quantise it.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype}
    if bits is not None:
        if len(lineage(name)) > 1:
            raise UserError(
                f"{name}: an adapter is loaded into whole weights; save it merged, and quantise that"
            )
        options["quantization_config"] = _quantised(bits)
    tokenizer = load_tokenizer(name)
    auto: Any = AutoModelForCausalLM
    if divide is not None:
        if len(lineage(name)) > 1:
            raise UserError(
                f"{name}: an adapter is worked into whole weights; save it merged, and divide that"
            )
        with explained(lineage(name)[-1]):
            auto = divided_lm(load_config(name), divide)
    model, _ = load_model(auto, name, **options)
    if divide is not None:
        require_tied(model, lineage(name)[-1])
    require_embeddings(model, tokenizer, name)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= embeddings(model):
        _pad_with_the_end(tokenizer)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def load_model(
    auto: Any, name: str | Path, *, fresh_head: bool = False, **options: Any
) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load a model in eval mode, adapters worked in, all its weights free to be trained.

    Args:
        auto: AutoModel or one of its kin.
        fresh_head: weights outside the body may be missing, or of another size; they are drawn at
            random.
        options: for `from_pretrained`.

    Returns:
        The model, and which weights of its head are fresh.

    Raises:
        UserError: no such model, or one whose weights are not all in its files.
    """
    *adapters, base = lineage(name)
    model, report = read(
        auto,
        base,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    has_head = model.base_model is not model
    body = f"{model.base_model_prefix}." if fresh_head and has_head else ""
    kind = "language model" if "CausalLM" in auto.__name__ else "model"
    _require_whole(base, kind, body, report)
    fresh = set()
    if body:
        absent = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
        fresh = {key for key in absent if not key.startswith(body)}
    for adapter in reversed(adapters):
        model, brought = with_adapter(model, adapter, partly=fresh_head)
        fresh = {key for key in fresh if key.partition(".")[0] not in brought}
    return model.requires_grad_(True).eval(), frozenset(fresh)


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer; where it has no pad token, padding uses the end token."""
    tokenizer = saved_tokenizer(name)
    if tokenizer.pad_token is None:
        _pad_with_the_end(tokenizer)
    return tokenizer


def saved_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer as it was saved; of an adapter without one, its base's."""
    from transformers import AutoTokenizer

    folders = lineage(name)
    folder = next(filter(model_files.has_tokenizer, folders), folders[-1])
    with explained(folder):
        require_tokenizer(folder)
    tokenizer: PreTrainedTokenizerBase = read(AutoTokenizer, folder)
    with explained(folder):
        require_loaded(folder, tokenizer)
    return tokenizer


def load_config(name: str | Path) -> PreTrainedConfig:
    """Load a model's configuration; of an adapter, its base's."""
    from transformers import AutoConfig

    config: PreTrainedConfig = read(AutoConfig, lineage(name)[-1])
    return config


def context_length(name: str | Path) -> int | None:
    """Return how many positions a model has; None where its configuration sets no limit."""
    limit = getattr(load_config(name).get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit and limit > 0 else None


def device() -> torch.device:
    """Return where models run outside training: the accelerator where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def embeddings(model: PreTrainedModel) -> int:
    """Return how many tokens a model has embeddings for."""
    table: Any = model.get_input_embeddings()
    return int(table.weight.shape[0])


def require_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | Path
) -> None:
    """Refuse a tokenizer with a token, but for padding, that the model has no embedding of."""
    rows = embeddings(model)
    beyond = {}
    for token, i in tokenizer.get_vocab().items():
        # A token for padding is never read, also where another one has taken its place.
        pads = token == tokenizer.pad_token or "pad" in token.lower()
        if i >= rows and not pads:
            beyond[i] = token
    if beyond:
        first = min(beyond)
        raise UserError(
            f"{name}: its tokenizer has {beyond[first]!r} as token {first}, the model embeddings "
            f"for {rows} tokens: call model.resize_token_embeddings({max(beyond) + 1}), "
            "or take the token out, and save both again"
        )


def _pad_with_the_end(tokenizer: Any) -> None:
    # Padding is always masked, so any token will do.
    tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def _require_whole(folder: Path, kind: str, body: str, report: dict[str, Any]) -> None:
    """Refuse a model in which a weight of the body is missing or of another size.

    Args:
        kind: how the message calls the model.
        body: how the names of the body's weights begin; "" where every weight counts.
        report: what transformers says of loading.
    """
    mismatched = sorted(entry for entry in report["mismatched_keys"] if entry[0].startswith(body))
    if mismatched:
        key, saved, configured = mismatched[0]
        raise UserError(
            f"{folder}: not a whole {kind}: {len(mismatched)} weights have not the size that "
            f"config.json gives, as {key}: {tuple(saved)} and not {tuple(configured)}; "
            "give a folder where both were saved together"
        )
    missing = sorted(key for key in report["missing_keys"] if key.startswith(body))
    # Only a classification head reads a pooler, and trains it too.
    missing = [key for key in missing if "pooler" not in key]
    if missing:
        raise UserError(
            f"{folder}: not a whole {kind}: {len(missing)} weights are missing, as {missing[0]}; "
            "give a folder or hub name that holds them"
        )


def _quantised(bits: Literal[4, 8]) -> Any:
    """Return bitsandbytes' settings.

    4 bits are NF4, twice quantised, computing in bfloat16 (QLoRA, arXiv 2305.14314); 8 bits are
    LLM.int8 (arXiv 2208.07339).
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"{bits} bits: bitsandbytes quantises, and is not installed; pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
    )
