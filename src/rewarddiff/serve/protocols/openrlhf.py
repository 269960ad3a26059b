"""OpenRLHF's remote reward model: `--reward.remote_url` (earlier `--remote_rm_url`).

Its trainer posts `{"query": [str], "prompts": [str], "labels": [str]}`, as a rule one sample a
request. A query is the prompt with its response as the policy's tokenizer decodes them, special
tokens included. It takes from the answer `rewards` (for advantages), `scores` (for filtering; the
rewards where missing) and `extra_logs`, lists of one number a query.

Source: github.com/OpenRLHF/OpenRLHF, openrlhf/utils/agent.py (SingleTurnAgentExecutor) and
openrlhf/utils/remote_rm_utils.py; before labels were sent, openrlhf/cli/serve_rm.py read `query`
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import StrictStr

from rewarddiff.serve.asking import Sample
from rewarddiff.serve.chat import exchange
from rewarddiff.serve.failures import refused
from rewarddiff.serve.protocols.base import Json, RewardProtocol, require_as_many
from rewarddiff.serve.served import Scores, Served


class OpenRLHF(RewardProtocol):
    """`{"query": […], "prompts": […], "labels": […]}` → `{"rewards": […], "scores": […], …}`.

    Labels are answers to check by rules; a reward model reads none.
    """

    route: ClassVar[str] = "/get_reward"
    serves: ClassVar[str] = "OpenRLHF"

    query: list[StrictStr]
    prompts: list[StrictStr] | None = None
    labels: list[Any] | None = None

    def samples(self, served: Served) -> Iterator[Sample]:
        if self.prompts is None:
            for i, query in enumerate(self.query):
                yield served.whole(query, f"query[{i}]")
            return
        require_as_many("prompts", self.prompts, len(self.query), "queries")
        for i, (query, prompt) in enumerate(zip(self.query, self.prompts, strict=True)):
            if not query.startswith(prompt):
                raise refused(
                    f"query[{i}] does not begin with prompts[{i}], so what of it is the response is "
                    "not known; send the prompt as it stands in the query (it may have been cut "
                    "before sampling)"
                )
            asked, response = exchange(served.chat, prompt, query.removeprefix(prompt))
            yield Sample(asked, response, f"query[{i}]")

    def rewarded(self, served: Served, scores: Scores) -> Json:
        return {"rewards": scores.rewards, "scores": scores.rewards, "extra_logs": {}}
