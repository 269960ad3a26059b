"""Code that a model, a tokenizer or a processor brings, or names elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny import edit

from hostile_things.making import CLASSES, Change, Stock, Things, changed, code, edited, malice

MODELS = Things()


@MODELS.model
def code_of_an_unknown_architecture(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    edit(folder / "config.json", model_type="evil", auto_map=CLASSES)


@MODELS.model
def code_beside_a_known_architecture(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    edit(folder / "config.json", auto_map=CLASSES, trust_remote_code=True)


@MODELS.model
def code_of_another_repository(folder: Path, stock: Stock) -> None:
    classes = {k: f"some/one--{v}" for k, v in CLASSES.items() if isinstance(v, str)}
    edit(folder / "config.json", model_type="evil", auto_map=classes)


@MODELS.model
def code_of_a_folder_by_its_path(folder: Path, stock: Stock) -> None:
    code(stock.place / "evil", stock)
    classes = {k: f"{stock.place / 'evil'}--{v}" for k, v in CLASSES.items() if isinstance(v, str)}
    edit(folder / "config.json", model_type="evil", auto_map=classes)


@MODELS.model
def code_where_the_architecture_has_no_such_head(folder: Path, stock: Stock) -> None:
    """Of a model that transformers knows, but not as a language model, it asks whether to run code."""
    code(folder, stock)
    edit(
        folder / "config.json",
        model_type="t5",
        auto_map=CLASSES,
        architectures=["Policy"],
        d_model=32,
    )


@MODELS.model
def code_of_a_model_within_a_model(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    inner = {"model_type": "t5gemma_module", "auto_map": CLASSES, "_name_or_path": str(folder)}
    edit(
        folder / "config.json",
        model_type="vision-text-dual-encoder",
        vision_config={"model_type": "encoder-decoder", **inner},
        text_config={**inner, "model_type": "llama"},
    )


@MODELS.model
def code_of_a_tokenizer(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map={"AutoTokenizer": CLASSES["AutoTokenizer"]},
    )


@MODELS.model
def code_of_a_tokenizer_as_a_list(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    (folder / "tokenizer.json").unlink()
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="EvilTokenizer",
        auto_map=["evil.Tokenizer", None],
    )


@MODELS.model
def code_of_a_tokenizer_by_its_name(folder: Path, stock: Stock) -> None:
    code(folder, stock, "tokenization_evil.py")
    edit(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer", trust_remote_code=True)


@MODELS.model
def code_of_a_tokenizer_within_a_tokenizer(folder: Path, stock: Stock) -> None:
    """transformers loads RAG's two tokenizers without being told whether their code may run."""
    inner = {"model_type": "evil", "auto_map": CLASSES}
    edit(folder / "tokenizer_config.json", tokenizer_class="RagTokenizer")
    edit(
        folder / "config.json",
        question_encoder={"model_type": "resnet"},
        generator={"model_type": "resnet"},
    )
    for name in ("question_encoder_tokenizer", "generator_tokenizer"):
        code(folder / name, stock)
        edit(folder / name / "config.json", **inner)
        edit(
            folder / name / "tokenizer_config.json",
            tokenizer_class="EvilTokenizer",
            auto_map={"AutoTokenizer": [None, "evil.Tokenizer"]},
        )
    code(folder, stock)


@MODELS.model
def tokenizer_that_is_any_tokenizer(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="AutoTokenizer",
        auto_map={"AutoTokenizer": CLASSES["AutoTokenizer"]},
    )


@MODELS.model
def tokenizer_that_is_a_model(folder: Path, stock: Stock) -> None:
    malice(folder / "pytorch_model.bin", stock)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    shutil.copy(folder / "other.safetensors", folder / "model-00001-of-00001.safetensors")
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaForCausalLM")


@MODELS.model
def tokenizer_that_is_a_model_beside_good_weights(folder: Path, stock: Stock) -> None:
    malice(folder / "pytorch_model.bin", stock)
    edit(folder / "tokenizer_config.json", tokenizer_class="BertForMaskedLM")
    edit(folder / "config.json", transformers_weights=None)


@MODELS.model
def tokenizer_that_retrieves(folder: Path, stock: Stock) -> None:
    malice(folder / "psgs_w100.tsv.pkl", stock)
    malice(folder / "hf_bert_base.hnswSQ8_correct_phi_128.c_index.index_meta.dpr", stock)
    edit(folder / "tokenizer_config.json", tokenizer_class="RagRetriever")
    edit(folder / "config.json", index_name="legacy", index_path=str(folder))


@MODELS.model
def code_of_a_processor(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    classes = {"AutoProcessor": "evil.Tokenizer", "AutoImageProcessor": "evil.Tokenizer"}
    for kind in ("processor", "preprocessor", "image_processor"):
        edit(folder / f"{kind}_config.json", processor_class="Evil", auto_map=classes)


@MODELS.model
def code_that_generates(folder: Path, stock: Stock) -> None:
    code(folder / "custom_generate", stock, "generate.py")
    edit(
        folder / "generation_config.json",
        custom_generate=str(folder),
        trust_remote_code=True,
        cache_implementation="evil",
    )


@MODELS.model
def code_of_a_pipeline(folder: Path, stock: Stock) -> None:
    code(folder, stock)
    pipeline = {"text-generation": {"impl": "evil.Policy", "pt": ["AutoModelForCausalLM"]}}
    edit(folder / "config.json", custom_pipelines=pipeline, library_name="evil")


MODELS |= {
    "kernel_of_the_hub": edited("config.json", attn_implementation="some/kernel", use_kernels=True),
    "kernel_within": edited(
        "config.json",
        text_config={"_attn_implementation": "some/kernel"},
        _experts_implementation={"": "some/kernel:fn"},
    ),
}

QUANTISERS = (
    "gptq", "awq", "hqq", "quark", "torchao", "fp8", "auto-round", "evil.Config", "bitsandbytes",
)  # fmt: skip


def quantised(method: str) -> Change:
    """Return what lets a model be loaded by a quantiser, with all by which one could be led to code."""
    quantization = {
        "quant_method": method,
        "bits": 4,
        "modules_to_not_convert": ["lm_head"],
        "quant_type": {"default": {"_type": "evil.Config", "_data": {}, "_version": 1}},
        "backend": "evil",
        "kernel": "some/kernel",
    }

    def change(folder: Path, stock: Stock) -> None:
        code(folder, stock)
        edit(folder / "config.json", quantization_config=quantization)

    return change


MODELS |= {f"quantised_by_{method}": changed(quantised(method)) for method in QUANTISERS}
