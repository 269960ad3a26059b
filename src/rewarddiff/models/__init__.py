"""Models by name: a folder, one of two short names found without a hub, or a hub name.

What comes back are ordinary Hugging Face models, adapters worked in; a model whose weights are not
all in its files is refused rather than filled with random ones. Pickled weights are never read, and
code that a model's folder brings is never run: `model_files` looks at a folder first, and
`reading.read` is the one place that loads from it. torch is imported by the functions that need it.

names       which folder a name stands for, its base models, its fingerprint
hub         models of the hub, downloaded
conversion  the quantised model of the package index, made an ordinary one
reading     what transformers loads from a folder, quietly, and errors in one line
adapters    adapters worked into weights
dividing    a model of which each process reads its own rows
loading     models and tokenizers, whole or refused
cards       the README.md of a saved model
publishing  a saved model put on the hub
"""

from rewarddiff.models.loading import (
    context_length,
    device,
    embeddings,
    load_causal_lm,
    load_config,
    load_model,
    load_tokenizer,
    require_embeddings,
    saved_tokenizer,
)
from rewarddiff.models.names import KNOWN, cache_root, find, fingerprint, lineage, origin, resolve
from rewarddiff.models.reading import explained, quiet

__all__ = [
    "KNOWN",
    "cache_root",
    "context_length",
    "device",
    "embeddings",
    "explained",
    "find",
    "fingerprint",
    "lineage",
    "load_causal_lm",
    "load_config",
    "load_model",
    "load_tokenizer",
    "origin",
    "quiet",
    "require_embeddings",
    "resolve",
    "saved_tokenizer",
]
