"""slime's remote reward: `--rm-type remote_rm --rm-url URL`.

It posts one sample a request, `{"prompt": …, "response": str, "label": …}`, and takes the answer's
JSON as the sample's reward. The prompt is text that the policy's template has written, or turns.

Source: github.com/THUDM/slime, slime/rollout/rm_hub/__init__.py (remote_rm).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import StrictStr

from rewarddiff.serve.asking import Sample
from rewarddiff.serve.chat import exchange
from rewarddiff.serve.protocols.base import Json, RewardProtocol, Turns
from rewarddiff.serve.served import Scores, Served


class Slime(RewardProtocol):
    """`{"prompt": …, "response": str, "label": …}` → one number.

    A label is an answer to check by rules; a reward model reads none.
    """

    route: ClassVar[str] = "/reward"
    serves: ClassVar[str] = "slime"

    prompt: Turns
    response: StrictStr
    label: Any = None

    def samples(self, served: Served) -> list[Sample]:
        if not isinstance(self.prompt, str):
            return [Sample(self.prompt, self.response, "the sample")]
        asked, response = exchange(served.chat, self.prompt, self.response)
        return [Sample(asked, response, "the sample")]

    def rewarded(self, served: Served, scores: Scores) -> Json:
        return scores.rewards[0]
