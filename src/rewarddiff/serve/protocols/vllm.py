"""vLLM's `/classify`, as it answers for a reward model of one label.

`input` is a whole text or a list of them; instead of it, `messages` is a conversation that ends with
the response. `probs` holds the reward as it is: what vLLM gives with `use_activation: false`, and
for a model whose problem_type is regression.

Source: docs.vllm.ai, "Classification API"; github.com/vllm-project/vllm,
vllm/entrypoints/pooling/classify/protocol.py (ClassificationRequest, ClassificationResponse).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import StrictStr

from rewarddiff.serve.asking import Sample
from rewarddiff.serve.failures import refused
from rewarddiff.serve.protocols.base import Json, RewardProtocol, Turns
from rewarddiff.serve.served import Scores, Served


class VLLM(RewardProtocol):
    """`{"model": …, "input": […]}` → `{"data": [{"label": …, "probs": [float], …}, …], …}`."""

    route: ClassVar[str] = "/classify"
    serves: ClassVar[str] = "vLLM"
    counts_tokens: ClassVar[bool] = True

    model: StrictStr | None = None
    input: Any = None
    messages: Turns | None = None
    use_activation: bool | None = None

    @property
    def texts(self) -> list[str]:
        """The whole texts that were sent."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise refused("input should be a text or a list of texts; token ids are not read")
        return texts

    def samples(self, served: Served) -> Iterator[Sample]:
        if self.use_activation:
            raise refused("use_activation: rewards are given as they are; leave it out, or false")
        if self.model not in (None, served.name):
            raise refused(f"the model '{self.model}' is not here; '{served.name}' is")
        if self.messages is None:
            for i, text in enumerate(self.texts):
                yield served.whole(text, f"input[{i}]")
            return
        conversation = self.messages
        if isinstance(conversation, str) or len(conversation) < 2:
            raise refused("messages should be a question's turns and then the response's")
        reply = conversation[-1]
        if reply.role != "assistant":
            raise refused(f"messages end with a turn of {reply.role}, expected assistant's")
        yield Sample(conversation[:-1], reply.content, "messages")

    def rewarded(self, served: Served, scores: Scores) -> Json:
        data = []
        for index, reward in enumerate(scores.rewards):
            data.append({"index": index, "label": "LABEL_0", "probs": [reward], "num_classes": 1})
        answer: Json = {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": served.name,
            "data": data,
            "usage": {
                "prompt_tokens": scores.tokens,
                "total_tokens": scores.tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
            },
        }
        return answer
