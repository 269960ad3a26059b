"""What continues the prompts of a model that is read here: one key of a recipe, `engine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rewarddiff.config import at_least
from rewarddiff.errors import UserError

COLDEST, HOTTEST = 0.01, 2.0
"""vLLM raises a temperature between 0 and the first, which is said in its log alone, and refuses one above
the second (vllm/sampling_params.py, `SamplingParams.__post_init__` and `_verify_args`)."""


@dataclass(frozen=True)
class Transformers:
    """transformers continues them, in float32."""

    name: Literal["transformers"] = "transformers"

    def check(self, temperature: float) -> None:
        """Let every temperature pass."""


@dataclass(frozen=True)
class VLLM:
    """vLLM continues them, on an NVIDIA GPU: `pip install 'rewarddiff[vllm]'`. The options have vLLM's names.

    Attributes:
        dtype: that the model is read in. In float32 samples are drawn as transformers draws them here;
            the others take half the memory, and round away a part of what few steps of training change.
        gpu_memory_utilization: the share of a GPU's memory that vLLM takes, for weights and for tokens
            that were read. What else lies on the GPU has to find room beside it.
        tensor_parallel_size: GPUs that hold the model together.
        max_model_len: tokens of prompt and response together; null: as many as the model reads, or as
            there is memory for.
    """

    name: Literal["vllm"] = "vllm"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "tensor_parallel_size", "max_model_len")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(
                f"gpu_memory_utilization is {self.gpu_memory_utilization}, should be a share of the GPU's "
                "memory, above 0 and at most 1"
            )

    def check(self, temperature: float) -> None:
        """Refuse a temperature at which vLLM does not draw. Raises UserError."""
        if temperature and not COLDEST <= temperature <= HOTTEST:
            raise UserError(
                f"temperature is {temperature}, and vLLM draws at 0 or from {COLDEST} to {HOTTEST:g}; "
                "choose one of these, or engine: transformers"
            )


AnyEngine = Transformers | VLLM
