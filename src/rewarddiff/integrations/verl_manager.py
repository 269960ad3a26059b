"""The reward manager for verl's reward loop; see `integrations.verl`."""

from __future__ import annotations

import asyncio
from typing import Any

from transformers import PreTrainedTokenizerBase

from rewarddiff.errors import UserError
from rewarddiff.integrations.verl import scores

try:
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
except ImportError:
    raise UserError(
        "rewarddiff.integrations.verl: the reward manager needs verl 0.8 or later in this "
        "environment; compute_score needs none"
    ) from None


class RewardManager(RewardManagerBase):  # type: ignore[misc]
    """Gives verl's rollouts the rewards of a scorer.

    The scorer is named by `+reward.reward_kwargs.scorer`, and a file of `rewarddiff baseline` to whose
    responses rewards are relative by `+reward.reward_kwargs.stored`. Responses that verl hands over together are
    read together; it hands over whole parts of a batch, or single responses as they come.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: PreTrainedTokenizerBase,
        compute_score: object = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        options = config.reward.get("reward_kwargs") or {}
        scorer = options.get("scorer")
        if not scorer:
            raise UserError(
                "verl: no scorer; add +reward.reward_kwargs.scorer=FOLDER or its server's URL"
            )
        self.scorer = str(scorer)
        self.stored = options.get("stored")

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Return the reward of the last sequence of a `DataProto`."""
        (reward,) = await self.run_batch(data[-1:])
        return reward

    async def run_batch(self, data: Any) -> list[dict[str, Any]]:
        """Return the reward of every sequence of a `DataProto`, in its order."""
        rewards = await asyncio.to_thread(self._rewards, data)
        return [{"reward_score": reward, "reward_extra_info": {}} for reward in rewards]

    def _rewards(self, data: Any) -> list[float]:
        prompts = []
        responses = []
        for place in range(len(data)):
            item = data[place]
            if "raw_prompt" not in item.non_tensor_batch:
                raise UserError("verl: the batch has no raw_prompt; set data.return_raw_chat=True")
            prompts.append(list(item.non_tensor_batch["raw_prompt"]))
            responses.append(self._response(item.batch))
        return scores(self.scorer, prompts, responses, self.stored)

    def _response(self, batch: Any) -> str:
        """Return the text of a response, whose tokens are padded on the right."""
        tokens = batch["responses"]
        length = int(batch["attention_mask"][-len(tokens) :].sum())
        return str(self.tokenizer.decode(tokens[:length], skip_special_tokens=True))
