"""Configurations of absurd sizes and of other types, and programs in the place of values."""

from __future__ import annotations

from pathlib import Path

from hostile_things.making import Stock, Things, edited

MODELS = Things()

MODELS |= {
    "configuration_of_a_billion_layers": edited("config.json", num_hidden_layers=10**9),
    "configuration_of_a_billion_experts": edited("config.json", model_type="mixtral", num_local_experts=10**9),
    "configuration_of_an_absurd_vocabulary": edited("config.json", vocab_size=10**13),
    "configuration_of_absurd_positions": edited("config.json", max_position_embeddings=10**15),
}  # fmt: skip


@MODELS.model
def configuration_nested_deeply(folder: Path, stock: Stock) -> None:
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


MODELS |= {
    "configuration_of_other_types": edited(
        "config.json", architectures={"a": 1}, hidden_size="__import__('os').system('x')", id2label=[1], dtype="load"
    ),
    "configuration_with_classes": edited(
        "config.json", **{"__class__": "os.system", "py/object": "os.system", "_type": "os.system", "from_dict": 1}
    ),
    "labels_that_are_programs": edited(
        "config.json", architectures=["LlamaForSequenceClassification"],
        id2label={"0": "__import__('os')", "1": "{0.__class__}"}, num_labels=2,
    ),
}  # fmt: skip
