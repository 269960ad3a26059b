"""Hostile folders and files: code, pickles, absurd sizes, programs in templates, paths that lead elsewhere.

Each function makes one thing, in place of what lies at `place`, and returns what is handed to a command. What
would be executed touches a file that ends in `.ran`.
"""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class Given:
    """What things are made from.

    Attributes:
        policy, encoder, scorer: folders of good models.
        place: an empty folder for the thing.
    """

    policy: Path
    encoder: Path
    scorer: Path
    place: Path

    @property
    def ran(self) -> str:
        return str(self.place / "evil.ran")

    def model(self, of: str = "policy", name: str = "m") -> Path:
        """Return a copy of a good model."""
        return Path(shutil.copytree(getattr(self, of), self.place / name))


Make = Callable[[Given], Path]

MODELS: dict[str, Make] = {}
TEMPLATES: dict[str, str] = {}
DATA: dict[str, Make] = {}
RECIPES: dict[str, str] = {}
RUNS: dict[str, Callable[[Path, Given], None]] = {}


def model(make: Make) -> Make:
    MODELS[make.__name__] = make
    return make


def data(make: Make) -> Make:
    DATA[make.__name__] = make
    return make


def run(make: Callable[[Path, Given], None]) -> Callable[[Path, Given], None]:
    RUNS[make.__name__] = make
    return make


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


class Malice:
    """A pickle that touches a file when it is read."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({self.marker!r}, 'w')",)


def malice(path: Path, given: Given) -> Path:
    path.write_bytes(pickle.dumps(Malice(given.ran)))
    return path


def code(folder: Path, given: Given, name: str = "evil.py") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(
        f"open({given.ran!r}, 'w')\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class Config(LlamaConfig): model_type = 'evil'\n"
        "class Tokenizer(PreTrainedTokenizerFast): pass\n"
        "class Body(LlamaModel): config_class = Config\n"
        "class Policy(LlamaForCausalLM): config_class = Config\n"
        "class Classifier(LlamaForSequenceClassification): config_class = Config\n"
        "def generate(*a, **k): pass\n"
    )


CLASSES = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Body",
    "AutoModelForCausalLM": "evil.Policy",
    "AutoModelForSequenceClassification": "evil.Classifier",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    "AutoProcessor": "evil.Tokenizer",
}

# --- code -------------------------------------------------------------------------------------------


@model
def code_of_an_unknown_architecture(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    edit(folder / "config.json", model_type="evil", auto_map=CLASSES)
    return folder


@model
def code_beside_a_known_architecture(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    edit(folder / "config.json", auto_map=CLASSES, trust_remote_code=True)
    return folder


@model
def code_of_another_repository(given: Given) -> Path:
    folder = given.model()
    classes = {k: f"some/one--{v}" for k, v in CLASSES.items() if isinstance(v, str)}
    edit(folder / "config.json", model_type="evil", auto_map=classes)
    return folder


@model
def code_of_a_folder_by_its_path(given: Given) -> Path:
    folder = given.model()
    code(given.place / "evil", given)
    classes = {k: f"{given.place / 'evil'}--{v}" for k, v in CLASSES.items() if isinstance(v, str)}
    edit(folder / "config.json", model_type="evil", auto_map=classes)
    return folder


@model
def code_where_the_architecture_has_no_such_head(given: Given) -> Path:
    """Of a model that transformers knows, but not as a language model, it asks whether to run code."""
    folder = given.model()
    code(folder, given)
    edit(
        folder / "config.json",
        model_type="t5",
        auto_map=CLASSES,
        architectures=["Policy"],
        d_model=32,
    )
    return folder


@model
def code_of_a_model_within_a_model(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    inner = {"model_type": "t5gemma_module", "auto_map": CLASSES, "_name_or_path": str(folder)}
    edit(
        folder / "config.json",
        model_type="vision-text-dual-encoder",
        vision_config={"model_type": "encoder-decoder", **inner},
        text_config={**inner, "model_type": "llama"},
    )
    return folder


@model
def code_of_a_tokenizer(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map={"AutoTokenizer": CLASSES["AutoTokenizer"]},
    )
    return folder


@model
def code_of_a_tokenizer_as_a_list(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    (folder / "tokenizer.json").unlink()
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="EvilTokenizer",
        auto_map=["evil.Tokenizer", None],
    )
    return folder


@model
def code_of_a_tokenizer_by_its_name(given: Given) -> Path:
    folder = given.model()
    code(folder, given, "tokenization_evil.py")
    edit(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer", trust_remote_code=True)
    return folder


@model
def code_of_a_tokenizer_within_a_tokenizer(given: Given) -> Path:
    """transformers loads RAG's two tokenizers without being told whether their code may run."""
    folder = given.model()
    inner = {"model_type": "evil", "auto_map": CLASSES}
    edit(folder / "tokenizer_config.json", tokenizer_class="RagTokenizer")
    edit(
        folder / "config.json",
        question_encoder={"model_type": "resnet"},
        generator={"model_type": "resnet"},
    )
    for name in ("question_encoder_tokenizer", "generator_tokenizer"):
        code(folder / name, given)
        edit(folder / name / "config.json", **inner)
        edit(
            folder / name / "tokenizer_config.json",
            tokenizer_class="EvilTokenizer",
            auto_map={"AutoTokenizer": [None, "evil.Tokenizer"]},
        )
    code(folder, given)
    return folder


@model
def tokenizer_that_is_any_tokenizer(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="AutoTokenizer",
        auto_map={"AutoTokenizer": CLASSES["AutoTokenizer"]},
    )
    return folder


@model
def tokenizer_that_is_a_model(given: Given) -> Path:
    folder = given.model()
    malice(folder / "pytorch_model.bin", given)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    shutil.copy(folder / "other.safetensors", folder / "model-00001-of-00001.safetensors")
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaForCausalLM")
    return folder


@model
def tokenizer_that_is_a_model_beside_good_weights(given: Given) -> Path:
    folder = given.model()
    malice(folder / "pytorch_model.bin", given)
    edit(folder / "tokenizer_config.json", tokenizer_class="BertForMaskedLM")
    edit(folder / "config.json", transformers_weights=None)
    return folder


@model
def tokenizer_that_retrieves(given: Given) -> Path:
    folder = given.model()
    for name in (
        "psgs_w100.tsv.pkl",
        "hf_bert_base.hnswSQ8_correct_phi_128.c_index.index_meta.dpr",
    ):
        malice(folder / name, given)
    edit(folder / "tokenizer_config.json", tokenizer_class="RagRetriever")
    edit(folder / "config.json", index_name="legacy", index_path=str(folder))
    return folder


@model
def code_of_a_processor(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    for name in (
        "processor_config.json",
        "preprocessor_config.json",
        "image_processor_config.json",
    ):
        edit(
            folder / name,
            processor_class="Evil",
            auto_map={"AutoProcessor": "evil.Tokenizer", "AutoImageProcessor": "evil.Tokenizer"},
        )
    return folder


@model
def code_that_generates(given: Given) -> Path:
    folder = given.model()
    code(folder / "custom_generate", given, "generate.py")
    edit(
        folder / "generation_config.json",
        custom_generate=str(folder),
        trust_remote_code=True,
        cache_implementation="evil",
    )
    return folder


@model
def code_of_a_pipeline(given: Given) -> Path:
    folder = given.model()
    code(folder, given)
    pipeline = {"text-generation": {"impl": "evil.Policy", "pt": ["AutoModelForCausalLM"]}}
    edit(folder / "config.json", custom_pipelines=pipeline, library_name="evil")
    return folder


@model
def kernel_of_the_hub(given: Given) -> Path:
    folder = given.model()
    edit(folder / "config.json", attn_implementation="some/kernel", use_kernels=True)
    return folder


@model
def kernel_within(given: Given) -> Path:
    folder = given.model()
    edit(
        folder / "config.json",
        text_config={"_attn_implementation": "some/kernel"},
        _experts_implementation={"": "some/kernel:fn"},
    )
    return folder


def quantised(method: str, **more: Any) -> Make:
    def make(given: Given) -> Path:
        folder = given.model()
        code(folder, given)
        edit(
            folder / "config.json", quantization_config={"quant_method": method, "bits": 4, **more}
        )
        return folder

    return make


for name in (
    "gptq",
    "awq",
    "hqq",
    "quark",
    "torchao",
    "fp8",
    "auto-round",
    "evil.Config",
    "bitsandbytes",
):
    MODELS[f"quantised_by_{name}"] = quantised(
        name,
        modules_to_not_convert=["lm_head"],
        quant_type={"default": {"_type": "evil.Config", "_data": {}, "_version": 1}},
        backend="evil",
        kernel="some/kernel",
    )

# --- pickles ----------------------------------------------------------------------------------------


@model
def pickled_weights(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    malice(folder / "pytorch_model.bin", given)
    return folder


@model
def pickled_weights_beside(given: Given) -> Path:
    folder = given.model()
    for name in (
        *(
            "pytorch_model.bin",
            "optimizer.pt",
            "scheduler.pt",
            "rng_state.pth",
            "training_args.bin",
        ),
        *(
            "adapter_model.bin",
            "consolidated.00.pth",
            "model.ckpt",
            "vocab.pkl",
            "random_states_0.pkl",
        ),
    ):
        malice(folder / name, given)
    return folder


@model
def pickle_by_the_name_of_safetensors(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    malice(folder / "model.safetensors", given)
    return folder


@model
def zip_of_torch_by_the_name_of_safetensors(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malice(given.ran)))
    return folder


@model
def index_of_pickles(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    malice(folder / "weights.bin", given)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "weights.bin"}}
    edit(folder / "model.safetensors.index.json", **index)
    return folder


@model
def index_of_a_pickled_model(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    malice(folder / "weights.bin", given)
    edit(
        folder / "pytorch_model.bin.index.json",
        metadata={},
        weight_map={"lm_head.weight": "weights.bin"},
    )
    return folder


@model
def weights_named_by_the_configuration(given: Given) -> Path:
    folder = given.model()
    malice(folder / "evil.bin", given)
    edit(folder / "config.json", transformers_weights="evil.bin")
    return folder


@model
def pickled_value_head(given: Given) -> Path:
    folder = given.model()
    malice(folder / "value_head.bin", given)
    return folder


@model
def link_to_a_pickle(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    # By a name that says nothing: it may be hashed, as any file.
    malice(given.place / "evil.weights", given)
    (folder / "model.safetensors").symlink_to(given.place / "evil.weights")
    return folder


@model
def array_of_objects(given: Given) -> Path:
    folder = given.model("scorer")
    np.save(folder / "rewarddiff_prompts.npy", np.array([Malice(given.ran)]), allow_pickle=True)
    return folder


@model
def archive_of_arrays_of_objects(given: Given) -> Path:
    folder = given.model("scorer")
    np.savez(folder / "x.npz", a=np.array([Malice(given.ran)]))
    (folder / "x.npz").rename(folder / "rewarddiff_prompts.npy")
    return folder


@model
def pickle_by_the_name_of_an_array(given: Given) -> Path:
    folder = given.model("scorer")
    malice(folder / "rewarddiff_prompts.npy", given)
    return folder


@model
def absurd_array(given: Given) -> Path:
    folder = given.model("scorer")
    head = b"{'descr': '<u8', 'fortran_order': False, 'shape': (9000000000000,), }"
    head += b" " * (118 - len(head)) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    (folder / "rewarddiff_prompts.npy").write_bytes(content)
    return folder


# --- safetensors ------------------------------------------------------------------------------------


def with_header(header: bytes, size: int | None = None, body: bytes = bytes(64)) -> Make:
    def make(given: Given) -> Path:
        folder = given.model()
        length = struct.pack("<Q", len(header) if size is None else size)
        (folder / "model.safetensors").write_bytes(length + header + body)
        return folder

    return make


def tensor(start: int, end: int, shape: str = "[8]") -> str:
    return f'{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


MODELS |= {
    "header_beyond_the_file": with_header(b"{}", 2**40),
    "header_beyond_all_numbers": with_header(b"{}", 2**64 - 1),
    "header_of_100_MB": with_header(b"{" + b" " * 100_000_000 + b"}"),
    "header_of_many_tensors": with_header(
        ("{" + ",".join(f'"t{i}":{tensor(0, 0, "[0]")}' for i in range(200_000)) + "}").encode()
    ),
    "header_that_is_no_json": with_header(b"{'a': __import__('os').system('x')}"),
    "header_nested_deeply": with_header(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "tensors_that_overlap": with_header(f'{{"a":{tensor(0, 32)},"b":{tensor(16, 48)}}}'.encode()),
    "tensors_of_one_name": with_header(f'{{"a":{tensor(0, 32)},"a":{tensor(32, 64)}}}'.encode()),
    "tensor_beyond_the_file": with_header(f'{{"a":{tensor(0, 2**40, "[274877906944]")}}}'.encode()),
    "tensor_backwards": with_header(f'{{"a":{tensor(32, 0)}}}'.encode()),
    "tensor_of_an_absurd_shape": with_header(f'{{"a":{tensor(0, 32, "[4294967296,4294967296]")}}}'.encode()),
}  # fmt: skip


@model
def index_of_files_above(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../other.safetensors"}}
    edit(folder / "model.safetensors.index.json", **index)
    return folder


@model
def index_of_an_absolute_path(given: Given) -> Path:
    folder = given.model()
    other = (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": str(other)}}
    edit(folder / "model.safetensors.index.json", **index)
    return folder


@model
def index_of_windows_paths(given: Given) -> Path:
    folder = given.model()
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "..\\..\\evil.safetensors", "b": "C:\\evil.safetensors"}}
    edit(folder / "model.safetensors.index.json", metadata={}, **index)
    return folder


# --- configurations ---------------------------------------------------------------------------------


@model
def configuration_of_a_billion_layers(given: Given) -> Path:
    folder = given.model()
    edit(folder / "config.json", num_hidden_layers=10**9)
    return folder


@model
def configuration_of_a_billion_experts(given: Given) -> Path:
    folder = given.model()
    edit(folder / "config.json", model_type="mixtral", num_local_experts=10**9)
    return folder


@model
def configuration_of_an_absurd_vocabulary(given: Given) -> Path:
    folder = given.model()
    edit(folder / "config.json", vocab_size=10**13)
    return folder


@model
def configuration_of_absurd_positions(given: Given) -> Path:
    folder = given.model()
    edit(folder / "config.json", max_position_embeddings=10**15)
    return folder


@model
def configuration_nested_deeply(given: Given) -> Path:
    folder = given.model()
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return folder


@model
def configuration_of_other_types(given: Given) -> Path:
    folder = given.model()
    edit(
        folder / "config.json",
        architectures={"a": 1},
        hidden_size="__import__('os').system('x')",
        id2label=[1],
        dtype="load",
    )
    return folder


@model
def configuration_with_classes(given: Given) -> Path:
    folder = given.model()
    edit(
        folder / "config.json",
        **{
            "__class__": "os.system",
            "py/object": "os.system",
            "_type": "os.system",
            "from_dict": 1,
        },
    )
    return folder


@model
def labels_that_are_programs(given: Given) -> Path:
    folder = given.model()
    edit(
        folder / "config.json",
        architectures=["LlamaForSequenceClassification"],
        id2label={"0": "__import__('os')", "1": "{0.__class__}"},
        num_labels=2,
    )
    return folder


# --- tokenizers -------------------------------------------------------------------------------------


def with_tokenizer(**changes: Any) -> Make:
    def make(given: Given) -> Path:
        folder = given.model()
        edit(folder / "tokenizer.json", **changes)
        return folder

    return make


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def charsmap(text: str) -> dict[str, Any]:
    """Return a map of characters, as SentencePiece has them, that turns every "e" into a text."""
    units = [0] * 512
    units[0] = 256 << 10  # the children of the root begin at 256
    units[256 ^ ord("e")] = ord("e") | 1 << 8 | 1 << 10  # has a value, which is one unit from here
    units[256 ^ ord("e") ^ 1] = 1 << 31  # the value: the first text
    content = struct.pack("<I512I", 4 * 512, *units) + text.encode() + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def metaspace(mark: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": False}


def in_turn(of: str, *steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def copying(kind: str = "TemplateProcessing") -> dict[str, Any]:
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": kind, "single": [text] * 500_000, "pair": [], "special_tokens": {}}


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
LETTERS = {**SPLIT, "pattern": {"Regex": "."}}
BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
BERT = {"type": "BertProcessing", "sep": ["<bos>", 256], "cls": ["<bos>", 256]}

MODELS |= {
    "tokenizer_of_a_map_that_swells_texts": with_tokenizer(normalizer=charsmap("b" * 1_000_000)),
    "tokenizer_of_a_map_of_nothing": with_tokenizer(
        normalizer={"type": "Precompiled", "precompiled_charsmap": ""}
    ),
    "tokenizer_of_maps_that_decompose": with_tokenizer(
        normalizer=in_turn("normalizers", *[charsmap("e" * 10), charsmap("\ufdfa" * 300), {"type": "NFKD"}])
    ),
    "tokenizer_of_empty_matches": with_tokenizer(
        normalizer=in_turn("normalizers", *[replaced({"Regex": "x*"}, "b")] * 40)
    ),
    "tokenizer_of_matches_of_nothing": with_tokenizer(
        normalizer=in_turn("normalizers", *[replaced({"String": ""}, "b")] * 40)
    ),
    "tokenizer_without_a_type": with_tokenizer(normalizer={"pattern": {"Regex": "."}, "content": "b" * 2_000_000}),
    "tokenizer_of_another_type": with_tokenizer(
        normalizer={**replaced({"Regex": "."}, "b" * 2_000_000), "type": "Other"}
    ),
    "tokenizer_that_is_a_list": with_tokenizer(normalizer=[{"Regex": "."}, "b" * 2_000_000]),
    "tokenizer_of_lists": with_tokenizer(
        normalizer=in_turn("normalizers", [{"Regex": "."}, "b" * 2_000_000])
    ),
    "tokenizer_of_marks_of_marks": with_tokenizer(
        pre_tokenizer=in_turn("pretokenizers", *[LETTERS, metaspace("x"), LETTERS, metaspace("y")] * 20)
    ),
    "tokenizer_of_bytes_of_bytes": with_tokenizer(pre_tokenizer=in_turn("pretokenizers", *[BYTES] * 40)),
    "tokenizer_that_copies_texts": with_tokenizer(post_processor=copying()),
    "tokenizer_that_copies_texts_by_another_type": with_tokenizer(post_processor=copying("RobertaProcessing")),
    "tokenizer_of_frames_of_frames": with_tokenizer(post_processor=in_turn("processors", *[BERT] * 500_000)),
    "tokenizer_whose_parts_swell_together": with_tokenizer(
        normalizer=replaced({"Regex": "."}, "b" * 900),
        pre_tokenizer=in_turn("pretokenizers", *[LETTERS, metaspace("x"), LETTERS, metaspace("y")] * 4),
        post_processor={**copying(), "single": copying()["single"][:900]},
    ),
    "tokenizer_with_a_regex_that_never_ends": with_tokenizer(
        pre_tokenizer={**SPLIT, "pattern": {"Regex": r"(\w+\s?)+$(?<=\d)"}}
    ),
    "tokenizer_with_nested_repeats": with_tokenizer(
        pre_tokenizer={**SPLIT, "pattern": {"Regex": r"((a|[^x])*)*y{5}"}}
    ),
    "tokenizer_that_doubles_texts": with_tokenizer(
        normalizer={
            "type": "Sequence",
            "normalizers": [replaced({"Regex": "."}, "ab") for _ in range(40)],
        }
    ),
    "tokenizer_that_swells_texts": with_tokenizer(normalizer=replaced({"Regex": "."}, "a" * 2_000_000)),
    "tokenizer_with_a_huge_frame": with_tokenizer(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}] * 500_000
            + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [256] * 100, "tokens": ["<bos>"] * 100}},
        }
    ),
    "tokenizer_with_a_huge_number": with_tokenizer(
        added_tokens=[
            {"id": 2**31, "content": "<x>", "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
        ]
    ),
    "tokenizer_of_an_unknown_type": with_tokenizer(model={"type": "evil.Model", "vocab": {}}),
    "tokenizer_that_cuts_and_pads": with_tokenizer(
        padding={"strategy": {"Fixed": 2_000_000_000}, "direction": "Right", "pad_to_multiple_of": None,
                 "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
    ),
}  # fmt: skip


@model
def tokenizer_named_after_a_version(given: Given) -> Path:
    """transformers takes the file that its configuration names."""
    folder = given.model()
    (folder / "below").mkdir()
    other = Path(shutil.copy(folder / "tokenizer.json", folder / "below/tokenizer.4.0.json"))
    edit(other, normalizer=replaced({"Regex": "."}, "b" * 2_000_000))
    edit(folder / "tokenizer_config.json", fast_tokenizer_files=["below/tokenizer.4.0.json"])
    return folder


@model
def tokenizer_of_books(given: Given) -> Path:
    """The model need but say a token of ten million letters a few times."""
    folder = given.model()
    path = folder / "tokenizer.json"
    added = json.loads(path.read_text())["added_tokens"]
    token = {**added[0], "id": len(added) + 256, "content": "b" * 10_000_000, "special": False}
    edit(path, added_tokens=[*added, token])
    return folder


@model
def tokenizer_with_a_type_twice(given: Given) -> Path:
    folder = given.model()
    path = folder / "tokenizer.json"
    edit(path, normalizer={**replaced({"Regex": "."}, "b" * 2_000_000), "type": "Strip"})
    path.write_text(path.read_text().replace('"type": "Strip"', '"type": "Strip", "type": "Strip"'))
    return folder


@model
def tokenizer_nested_deeply(given: Given) -> Path:
    folder = given.model()
    (folder / "tokenizer.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return folder


@model
def tokenizer_of_garbage_alone(given: Given) -> Path:
    folder = given.model()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(bytes(range(256)) * 64)
    (folder / "spiece.model").write_bytes(b"\xff" * 4096)
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    return folder


@model
def tokenizer_with_a_pickled_vocabulary(given: Given) -> Path:
    folder = given.model()
    (folder / "tokenizer.json").unlink()
    malice(folder / "vocab.pkl", given)
    malice(folder / "vocab.bin", given)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="TransfoXLTokenizer",
        vocab_file=str(folder / "vocab.pkl"),
        pretrained_vocab_file=str(folder / "vocab.pkl"),
    )
    return folder


@model
def tokenizer_files_elsewhere(given: Given) -> Path:
    folder = given.model()
    malice(given.place / "evil.bin", given)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_file="../evil.bin",
        vocab_file="/etc/passwd",
        name_or_path="../../evil",
        added_tokens_decoder={"1000000000": {"content": "<x>", "special": True}},
    )
    return folder


# --- adapters ---------------------------------------------------------------------------------------


def adapter(given: Given, base: Path | str | None = None, **config: Any) -> Path:
    """Return a whole adapter of a base."""
    import torch

    base = given.model(name="base") if base is None else base
    folder = given.place / "adapter"
    folder.mkdir()
    asked = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    edit(
        folder / "adapter_config.json", **{**asked, "base_model_name_or_path": str(base), **config}
    )
    weights = {}
    for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_"
        weights |= {f"{key}A.weight": torch.zeros(2, 32), f"{key}B.weight": torch.zeros(32, 2)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def adapted(**config: Any) -> Make:
    return lambda given: adapter(given, **config)


SLOW = r"(.+)+Z"

MODELS |= {
    "adapter_of_the_hub": adapted(base="some/one"),
    "adapter_of_nothing": adapted(base="../../nothing"),
    "adapter_of_itself": lambda given: adapter(given, given.place / "adapter"),
    "adapter_of_code": lambda given: adapter(given, code_of_an_unknown_architecture(given)),
    "adapter_of_pickles": lambda given: adapter(given, pickled_weights(given)),
    "adapter_with_code": adapted(auto_map={"AutoModel": "evil.Body"}, trust_remote_code=True),
    "adapter_with_a_library": adapted(
        auto_mapping={"base_model_class": "Body", "parent_library": "evil"}
    ),
    "adapter_of_megatron": adapted(megatron_config={"a": 1}, megatron_core="evil"),
    "adapter_of_megatron_by_an_allowed_name": adapted(
        megatron_config={"a": 1}, megatron_core="transformers.evil"
    ),
    "adapter_by_a_slow_pattern": adapted(target_modules=SLOW),
    "adapter_that_leaves_out_by_a_slow_pattern": adapted(exclude_modules=SLOW),
    "adapter_of_layers_by_a_slow_pattern": adapted(
        layers_pattern=[SLOW], layers_to_transform=[0], target_modules=["q_proj"]
    ),
    "adapter_of_ranks_by_a_slow_pattern": adapted(rank_pattern={SLOW: 2}),
    "adapter_of_scales_by_a_slow_pattern": adapted(alpha_pattern={SLOW: 2}),
    "adapter_of_an_absurd_rank": adapted(r=10**9),
    "adapter_of_an_unknown_type": adapted(peft_type="evil.Tuner"),
    "adapter_of_several": adapted(peft_type="XLORA", adapters={"0": "../../evil"}),
    "adapter_of_a_prompt": adapted(
        peft_type="PROMPT_TUNING", prompt_tuning_init="TEXT", prompt_tuning_init_text="x",
        tokenizer_name_or_path="../evil", num_virtual_tokens=2, task_type="CAUSAL_LM",
        tokenizer_kwargs={"trust_remote_code": True},
    ),
    "adapter_that_reads_a_cache": adapted(
        init_lora_weights="corda", corda_config={"cache_file": "evil.pt", "covariance_file": "evil.pt"}
    ),
    "adapter_that_quantises": adapted(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
}  # fmt: skip


@model
def adapter_that_is_pickled(given: Given) -> Path:
    folder = adapter(given)
    (folder / "adapter_model.safetensors").unlink()
    malice(folder / "adapter_model.bin", given)
    return folder


@model
def adapter_that_begins_with_a_pickle(given: Given) -> Path:
    folder = adapter(
        given, peft_type="MULTITASK_PROMPT_TUNING", prompt_tuning_init="ONLY_SOURCE_SHARED",
        prompt_tuning_init_state_dict_path=str(malice(given.place / "start.bin", given)),
        num_virtual_tokens=2, token_dim=32, num_transformer_submodules=1,
    )  # fmt: skip
    return folder


# --- scorers of our own ------------------------------------------------------------------------------


def described(**changes: Any) -> Make:
    def make(given: Given) -> Path:
        folder = given.model("scorer")
        edit(folder / "rewarddiff_scorer.json", **changes)
        return folder

    return make


MODELS |= {
    "scorer_of_a_kind_by_path": described(kind="os:system", config={"kind": "os.system"}),
    "scorer_with_classes": described(config={"__class__": "os.system", "head": "evil.Head"}),
    "scorer_with_a_start_elsewhere": described(
        config={"backbone": "../../evil", "warm_start": "/"}
    ),
    "scorer_of_absurd_heads": described(config={"heads": 10**12}),
    "scorer_of_a_way_by_path": described(way="os.system"),
    "scorer_learned_absurdly": described(learned={"m": [1e308] * 10, "../../x": []}),
}


@model
def scorer_with_code(given: Given) -> Path:
    folder = given.model("scorer")
    code(folder, given)
    edit(folder / "config.json", model_type="evil", auto_map=CLASSES)
    return folder


# --- chat templates ---------------------------------------------------------------------------------

WRITES = "{{ messages[0].content }}"

TEMPLATES |= {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops_in_range": "{{ range(10 ** 9) | list | length }}",
    "doubles": "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "writes_without_end": "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
    "repeats_a_text": "{{ 'x' * 10 ** 10 }}",
    "repeats_a_list": "{{ ([0] * 10 ** 10) | length }}",
    "raises_a_power": "{{ (9 ** 9 ** 9) | string | length }}",
    "calls_itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recurses": "{% for a in [[[1]]] recursive %}{{ loop([a, a]) }}{% endfor %}",
    "pads": "{{ '%1000000000d' % 1 }}",
    "formats_widely": "{{ '{:>1000000000}'.format('x') }}",
    "indents": "{{ messages | tojson(indent=1000000000) }}",
    "tells_the_time_at_length": "{{ strftime_now('%Y' * 100000000) }}",
    "joins": "{{ range(10 ** 9) | join('x') }}",
    "sorts": "{{ (range(10 ** 8) | list | sort | length) }}",
    "splits": "{{ ('x ' * 10 ** 9).split() | length }}",
    "replaces": "{{ ('x' * 10 ** 6) | replace('x', 'y' * 10 ** 6) }}",
    "slices": "{{ ([1] * 10**7) | batch(1) | list | length }}{{ ([1] * 10**9) | batch(1) | list | length }}",
    "walks_classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "walks_by_filter": "{{ '' | attr('__class__') | attr('__mro__') }}",
    "walks_by_map": "{{ [''] | map(attribute='__class__.__mro__') | list }}",
    "walks_by_brackets": "{{ ''['__class__']['__base__']['__subclasses__']() }}",
    "globals_of_cycler": "{{ cycler.__init__.__globals__.os.system('touch EVIL') }}",
    "globals_of_lipsum": "{{ lipsum.__globals__['os'].popen('touch EVIL').read() }}",
    "globals_of_joiner": "{{ joiner.__init__.__globals__ }}",
    "globals_of_namespace": "{{ namespace.__init__.__globals__ }}",
    "globals_of_strftime": "{{ strftime_now.__globals__ }}",
    "globals_of_raise_exception": "{{ raise_exception.__globals__.__builtins__.eval('1') }}",
    "code_of_a_function": "{{ raise_exception.__code__.co_consts }}",
    "formats": "{{ '{0.__class__.__mro__}'.format('') }}",
    "formats_by_map": "{{ '{a.__init__.__globals__}'.format_map({'a': cycler}) }}",
    "formats_by_filter": "{{ '{0.__class__}' | format('') }}",
    "formats_by_a_method": "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}",
    "formats_by_str": "{{ ''.__class__.format('{0.__class__}', 1) }}",
    "joins_formats": "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "itself": "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.environment }}",
    "context": "{{ self._TemplateReference__context.exported_vars.__class__ }}",
    "environment": "{{ joiner.__class__.__init__.__globals__ }}{{ caller.__globals__ }}",
    "undefined": "{{ nothing.__init__.__globals__.__builtins__ }}",
    "includes": "{% include '/etc/passwd' %}",
    "imports": "{% import 'os' as os %}{{ os.system('touch EVIL') }}",
    "imports_from": "{% from 'os' import system %}{{ system('touch EVIL') }}",
    "extends": "{% extends '/etc/passwd' %}",
    "does": "{% do messages.clear() %}",
    "changes_messages": "{{ messages.append(messages) }}{{ messages }}",
    "changes_a_turn": "{{ messages[0].update({'content': 'evil'}) }}",
    "pops": "{{ messages.pop() }}",
    "calls_a_filter_by_name": "{{ 'os' | map('attr', '__class__') | list }}",
    "generates": "{% generation %}{{ ''.__class__.__mro__ }}{% endgeneration %}",
    "raises_at_length": "{{ raise_exception('x' * 10 ** 8) }}",
    "raises_controls": "{{ raise_exception('\x1b]0;evil\x07\x9b31m\u202eevil') }}",
    "fails_with_controls": "{{ messages['\x1b[2J'] + 1 }}",
    "is_no_template": "{% for %}{{ {{ }}",
    "is_nested_deeply": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "is_long": "{{ 1 }}" * 200_000,
    "is_an_expression_without_end": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "adds_without_end": "{{ " + " + ".join(["1"] * 20_000) + " }}",
}

# --- data --------------------------------------------------------------------------------------------

ROWS = [
    {"prompt": f"Question {i}?", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(8)
]  # fmt: skip


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@data
def rows_with_classes(given: Given) -> Path:
    marks = {"__class__": "os.system", "py/object": "os.system", "py/reduce": [1], "$type": "x"}
    return lines(given.place / "rows.jsonl", [{**row, **marks} for row in ROWS])


@data
def rows_nested_deeply(given: Given) -> Path:
    path = lines(given.place / "rows.jsonl", ROWS)
    path.write_text(path.read_text() + '{"prompt":' * 100_000 + "1" + "}" * 100_000 + "\n")
    return path


@data
def rows_that_are_pickled(given: Given) -> Path:
    return malice(given.place / "rows.jsonl", given)


@data
def pickle_among_rows(given: Given) -> Path:
    folder = given.place / "rows"
    folder.mkdir()
    lines(folder / "rows.jsonl", ROWS)
    for name in ("data.pkl", "dataset.pt", "cache.bin", "rows.pickle"):
        malice(folder / name, given)
    return folder


@data
def dataset_with_a_script(given: Given) -> Path:
    folder = given.place / "rows"
    folder.mkdir()
    code(folder, given, "rows.py")
    code(folder, given, "dataset.py")
    lines(folder / "rows.jsonl", ROWS)
    (folder / "README.md").write_text(
        "---\nconfigs: !!python/object/apply:os.system ['touch x']\n---\n"
    )
    return folder


def parquet(path: Path, metadata: dict[bytes, bytes], of_field: dict[bytes, bytes]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("prompt", "chosen", "rejected")
    fields = [pa.field(name, pa.string(), metadata=of_field) for name in names]
    schema = pa.schema(fields, metadata=metadata)
    columns = [[row[name] for row in ROWS] for name in names]
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


@data
def parquet_with_a_pickled_type(given: Given) -> Path:
    """What pyarrow unpickled until its version 14 (CVE-2023-47248)."""
    pickled = pickle.dumps(Malice(given.ran))
    field = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickled,
    }
    return parquet(given.place / "rows.parquet", {}, field)


@data
def parquet_with_metadata(given: Given) -> Path:
    pickled = pickle.dumps(Malice(given.ran))
    features = {"info": {"features": {"prompt": {"_type": "exec", "dtype": "string"}}}}
    metadata = {b"pandas": pickled, b"huggingface": json.dumps(features).encode()}
    return parquet(given.place / "rows.parquet", metadata, {})


@data
def parquet_that_is_cut(given: Given) -> Path:
    path = parquet(given.place / "rows.parquet", {}, {})
    content = bytearray(path.read_bytes())
    content[-8:-4] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(content)
    return path


def saved_dataset(given: Given) -> Path:
    import datasets

    folder = given.place / "rows"
    datasets.Dataset.from_list(ROWS).save_to_disk(str(folder))
    return folder


@data
def saved_dataset_of_files_elsewhere(given: Given) -> Path:
    folder = saved_dataset(given)
    edit(folder / "state.json", _data_files=[{"filename": "../../../etc/passwd"}])
    return folder


@data
def saved_dataset_of_evil_types(given: Given) -> Path:
    folder = saved_dataset(given)
    features = {"prompt": {"_type": "exec", "dtype": "string"}, "chosen": {"_type": "eval"}}
    edit(folder / "dataset_info.json", features=features, builder_name="evil")
    edit(folder / "state.json", _format_type="custom", _format_kwargs={"transform": "os.system"})
    return folder


@data
def saved_dataset_of_images_elsewhere(given: Given) -> Path:
    import datasets

    folder = given.place / "rows"
    rows = [{**row, "image": {"bytes": b"", "path": "http://127.0.0.1:9/x.png"}} for row in ROWS]
    datasets.Dataset.from_list(rows).save_to_disk(str(folder))
    features = json.loads((folder / "dataset_info.json").read_text())["features"]
    edit(folder / "dataset_info.json", features={**features, "image": {"_type": "Image"}})
    return folder


@data
def saved_datasets_of_splits_elsewhere(given: Given) -> Path:
    folder = saved_dataset(given)
    edit(folder / "dataset_dict.json", splits=["../../evil", "/etc"])
    return folder


@data
def csv_of_formulas(given: Given) -> Path:
    path = given.place / "rows.csv"
    path.write_text("prompt,chosen,rejected\n" + "\"=cmd|' /C calc'!A0\",@SUM(1),-2+3\n" * 8)
    return path


@data
def rows_that_swell(given: Given) -> Path:
    """Three megabytes that unpack to three gigabytes, in one line."""
    path = given.place / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"prompt": "')
        for _ in range(3000):
            file.write(b"x" * 1_000_000)
    return path


@data
def array_that_swells(given: Given) -> Path:
    path = given.place / "rows.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"[")
        for _ in range(6000):
            file.write(b" " * 1_000_000)
    return path


def database(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.executescript(statement)
    connection.close()
    return path


ITEMS = """
    CREATE TABLE settings (key, value); CREATE TABLE items (id, place, prompt, a, b, source);
    INSERT INTO items VALUES ('i', 0, '"q"', 'x', 'y', '{}');
"""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"
VOTED = "(item, annotator, grade, skipped, seconds, reason, first, created, nonce)"


@data
def votes_without_end(given: Given) -> Path:
    view = (
        f"CREATE VIEW votes AS {ENDLESS} SELECT 'i' item, 'a' || i annotator, 1 grade, 0 skipped, "
    )
    return database(
        given.place / "annotations.sqlite",
        ITEMS,
        f"{view} 1.0 seconds, '' reason, 0 first, '' created, i nonce FROM n",
    )


@data
def votes_of_huge_texts(given: Given) -> Path:
    view = "CREATE VIEW votes AS SELECT 'i' item, 'a' annotator, 1 grade, 0 skipped, 1.0 seconds, "
    return database(
        given.place / "annotations.sqlite",
        ITEMS,
        f"{view} printf('%.*c', 900000000, 'x') reason, 0 first, '' created, 1 nonce",
    )


@data
def votes_with_a_trigger(given: Given) -> Path:
    return database(
        given.place / "annotations.sqlite",
        ITEMS,
        f"CREATE TABLE votes {VOTED}; INSERT INTO votes VALUES ('i', 'a', 1, 0, 1.0, '', 0, '', 'n');",
        "CREATE TRIGGER evil AFTER INSERT ON votes BEGIN DELETE FROM votes; END",
    )


@data
def votes_in_a_virtual_table(given: Given) -> Path:
    return database(
        given.place / "annotations.sqlite", ITEMS, f"CREATE VIRTUAL TABLE votes USING fts5{VOTED}"
    )


@data
def votes_of_pickles(given: Given) -> Path:
    path = given.place / "annotations.sqlite"
    path.write_bytes(b"SQLite format 3\0" + pickle.dumps(Malice(given.ran)) * 100)
    return path


# --- recipes -----------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
MERGES = "m0: &m0 {x: 1}\n" + "".join(
    f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 10)}]\n" for i in range(1, 12)
)

RECIPES |= {
    "python_apply": "name: !!python/object/apply:os.system ['touch EVIL']\n",
    "python_new": "name: !!python/object/new:os.system ['touch EVIL']\n",
    "python_name": "name: !!python/name:os.system\n",
    "python_module": "name: !!python/module:os\n",
    "python_object": "name: !!python/object:os.system {}\n",
    "python_tuple": "name: !!python/tuple [1, 2]\n",
    "python_tag_by_its_address": "name: !<tag:yaml.org,2002:python/object/apply:os.system> ['touch EVIL']\n",
    "python_in_a_key": "? !!python/object/apply:os.system ['touch EVIL']\n: 1\n",
    "own_tag": "%TAG ! tag:yaml.org,2002:python/\n---\nname: !object/apply:os.system ['touch EVIL']\n",
    "aliases_of_aliases": BOMB,
    "merges_of_merges": MERGES,
    "alias_of_itself": "name: &a\n  b: *a\n",
    "key_that_is_a_list": "? [a, b]\n: 1\n",
    "key_that_is_a_mapping": "? {a: b}\n: 1\n",
    "nested_deeply": "name: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "huge_number": "name: x\nseed: " + "9" * 100_000 + "\n",
    "binary": "name: !!binary aGVsbG8=\n",
    "timestamp": "name: !!timestamp 2001-01-01\n",
    "set": "name: !!set {a, b}\n",
    "two_documents": "name: x\n---\nname: y\n",
    "control_characters": 'name: "\\e[2J\\x9b31m\\u202e"\n',
    "jinja": 'name: "{{ cycler.__init__.__globals__ }}"\n',
    "environment": "name: ${HOME}\ndata: {path: '$(touch EVIL)'}\n",
    "scorer_by_its_path": "name: x\nscorers: {a: {kind: os.system}}\n",
    "scorer_by_its_module": "name: x\nscorers: {a: {kind: 'evil:Scorer'}}\n",
    "objective_by_its_path": "name: x\nmodel: m\npolicies: {p: {objective: evil.Objective}}\n",
    "tracker_by_its_path": "name: x\nmodel: m\npolicies: {p: {objective: dpo, train: {track: evil.Tracker}}}\n",
    "data_that_never_ends": "name: x\ndata: {path: /dev/zero}\nscorers: {a: {kind: length}}\n",
    "data_of_a_pipe_command": "name: x\ndata: {path: '| touch EVIL'}\nscorers: {a: {kind: length}}\n",
    "prompt_file_that_never_ends": "name: x\nscorers: {a: {kind: judge, local: m, prompt: /dev/zero}}\n",
}

OVERRIDES = (
    "name=!!python/object/apply:os.system ['touch EVIL']",
    "name=__import__('os').system('touch EVIL')",
    "__class__.__init__.__globals__=1",
    "scorers.__class__=1",
    "data.path=!!python/name:os.system",
    "scorers.*.*.*.*=1",
    "scorers={a: &a {b: *a}}",
    "seed=" + "[" * 5000 + "]" * 5000,
    "seed=9" + "9" * 10_000,
    "a" + ".a" * 5000 + "=1",
)

# --- runs --------------------------------------------------------------------------------------------


@run
def manifest_that_names_a_device(folder: Path, given: Given) -> None:
    for manifest in folder.rglob("manifest.json"):
        reseal(manifest, files={"/dev/zero": [1, "0"], "../../../../etc/passwd": [1, "0"]})


@run
def sums_that_name_a_device(folder: Path, given: Given) -> None:
    for place in folder.rglob("model.safetensors"):
        target = place.parent / ".rewarddiff-sums.json"
        reseal(target, files={"/dev/zero": [1, "0"], "../../x": [1, "0"]})


@run
def store_with_a_view(folder: Path, given: Given) -> None:
    (folder / "store.sqlite").unlink(missing_ok=True)
    database(
        folder / "store.sqlite",
        f"CREATE VIEW kept AS {ENDLESS} SELECT i AS key, '1' AS value, '' AS sum FROM n",
    )


@run
def store_with_a_trigger(folder: Path, given: Given) -> None:
    database(
        folder / "store.sqlite",
        "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT NOT NULL, sum TEXT NOT NULL)",
        "CREATE TRIGGER evil AFTER INSERT ON kept BEGIN DELETE FROM kept; END",
    )


@run
def arrays_of_objects(folder: Path, given: Given) -> None:
    for path in folder.rglob("*.npy"):
        np.save(path, np.array([Malice(given.ran)]), allow_pickle=True)


@run
def pickles_in_place_of_all(folder: Path, given: Given) -> None:
    for path in list(folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", ".npy", ".arrow", ".json"):
            malice(path, given)


@run
def checkpoints_of_pickles(folder: Path, given: Given) -> None:
    for path in list(folder.glob("*/*")):
        if path.is_dir():
            (path / "checkpoint").mkdir(exist_ok=True)
            for name in ("state.json", "optimizer.pt", "model.safetensors", "random_states_0.pkl"):
                malice(path / "checkpoint" / name, given)


@run
def results_with_classes(folder: Path, given: Given) -> None:
    edit(folder / "results.json", **{"__class__": "os.system", "py/object": "os.system"})


def reseal(path: Path, **changes: Any) -> None:
    """Change a sealed object, and seal it again: the sum is no secret."""
    from rewarddiff.sums import read_sealed, sealed_json

    content = (read_sealed(path) if path.exists() else None) or {}
    path.write_text(sealed_json(path.name, {**content, **changes}))


# --- a quantised model -------------------------------------------------------------------------------


def gguf(kind: int) -> bytes:
    """Return a file of GGUF whose header lies."""
    head = b"GGUF" + struct.pack("<I", 3)
    if kind == 0:
        return head + struct.pack("<QQ", 2**62, 2**62)
    if kind == 1:
        return head + struct.pack("<QQQ", 0, 1, 2**62) + b"x" * 64
    architecture = b"general.architecture"
    entry = struct.pack("<Q", len(architecture)) + architecture + struct.pack("<IQ", 8, 4) + b"evil"
    return head + struct.pack("<QQ", 0, 1) + entry


def weights_of(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")
