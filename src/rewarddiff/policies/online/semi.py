"""What the loop trains: a policy on pairs of its own samples, drawn anew every few steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from rewarddiff.encoding import Encoder
from rewarddiff.forward import LogProbs, switch_dropout_off
from rewarddiff.loop.objective import LossOutput, TrainConfig, Turns
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.online import metrics, semi_metrics
from rewarddiff.policies.online.frozen import Frozen
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.rollouts import OnlinePrompt, Rollout, read, with_columns
from rewarddiff.policies.online.samples import scored_samples
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.online.semi_turn import Judged, items_of, judged
from rewarddiff.policies.reference import with_mismatch
from rewarddiff.processes import done_by_every_process, own_share
from rewarddiff.records import Group
from rewarddiff.sampling.batches import Tokens
from rewarddiff.trees import Packed, Tree, group_tree


class SemiOnline:
    """An objective of pairs, on pairs of the policy's own samples.

    Its losses are those of `policies.alignment.Alignment`, as offline: this makes the items.

    Args:
        policy: as it starts. Where the objective reads a reference, that is this policy without its
            adapters, or else a copy of it.
        encoder: reads and writes texts for it.
        functions: score responses.
        identity: what the functions are; a checkpoint of others is refused.

    Attributes:
        config, besides: what a checkpoint has to be of.
    """

    def __init__(
        self,
        policy: LogProbs,
        encoder: Encoder,
        functions: RewardFunctions,
        options: SemiOnlineConfig,
        *,
        seed: int = 0,
        identity: str = "",
    ) -> None:
        self.options = options
        self.config = replace(options, train=TrainConfig())  # the loop knows its own
        self.besides = {"rewards": identity, "reading": encoder.fingerprint}
        self.encoder = encoder
        self.functions = functions
        self.seed = seed
        is_signed = options.coefficient is not None and options.coefficient.signed
        self.alignment = options.alignment.over(
            policy, signed=is_signed, tokens=options.train.pass_tokens
        )
        self.module = policy
        has_reference = "reference" in options.objective.reads
        self.reference = Frozen(policy) if has_reference else None
        self._pool: list[PreferenceItem] = []
        self._metrics: dict[str, float] = {}

    # -- what the loop asks: answered by the objective of pairs --------------------------------

    @property
    def turns(self) -> Turns:
        return self.options.turns

    def size(self, item: PreferenceItem) -> int:
        return self.alignment.size(item)

    def count(self, item: PreferenceItem) -> float:
        return self.alignment.count(item)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return self.alignment.parameter_groups(config)

    @property
    def state(self) -> dict[str, float]:
        return self.alignment.state

    @property
    def probes(self) -> bool:
        return self.alignment.probes

    def probe(self, module: nn.Module, items: Sequence[PreferenceItem]) -> list[Sequence[float]]:
        return self.alignment.probe(module, items)

    def begin(
        self, items: Sequence[PreferenceItem], probed: Sequence[Sequence[float]], *, training: bool
    ) -> None:
        self.alignment.begin(items, probed, training=training)

    def loss(self, module: nn.Module, items: Sequence[PreferenceItem]) -> LossOutput:
        return self.alignment.loss(module, items)

    def note(self, line: Mapping[str, float]) -> str:
        return metrics.note(line)

    def summary(self, means: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
        """Return a step's metrics, with those of the samples that it trains on."""
        return {**means, **self._metrics}

    # -- a turn: sample, read, score ----------------------------------------------------------

    def renew(
        self, module: nn.Module, items: Sequence[OnlinePrompt], turn: int
    ) -> list[PreferenceItem]:
        """Return pairs of samples of all prompts; none where no response is better than another.

        Raises:
            UserError: a reward is not usable.
        """
        groups, seconds = scored_samples(
            self.module.model,
            self.encoder,
            items,
            self.options,
            seed=self.seed,
            turn=turn,
            read=partial(self._read, module),
            score=self._judged,
        )
        pool = items_of(groups, self.options, temperature=self.functions.temperature)
        if "mismatch" in self.options.alignment.reads:
            pool = self._with_mismatch(pool)
        penalty = self.options.missing_eos_penalty or 0.0
        of_turn = semi_metrics.of_turn(groups, pool, missing_eos_penalty=penalty)
        # Nothing has changed until here, where all has gone well.
        self._pool, self._metrics = pool, {**of_turn, **seconds}
        return pool

    def _read(self, module: nn.Module, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Return rollouts with log π and log ρ of their tokens, by one tree a group."""
        switch_dropout_off(module)  # sampling has switched checkpointed layers too
        reference = self.reference

        def forward(packed: Packed) -> list[Tensor]:
            columns: list[Tensor] = [module(packed)]
            if reference is not None:
                columns.append(reference.logps(packed))
            return columns

        names = ["logps"] if reference is None else ["logps", "reference"]
        columns = read(rollouts, self.module.pack, forward, self.options.train.pass_tokens)
        return with_columns(rollouts, names, columns)

    def _judged(
        self,
        places: Sequence[int],
        prompts: Sequence[OnlinePrompt],
        rollouts: Sequence[Rollout],
        groups: Sequence[Group],
    ) -> list[Judged]:
        """Return this process's rollouts with what the scorer says of them."""
        return judged(places, rollouts, groups, self.functions, self.options)

    def _with_mismatch(self, items: Sequence[PreferenceItem]) -> list[PreferenceItem]:
        """Return items with a response to another prompt beside them, and log ρ of it.

        Where all pairs are of one prompt there is none, and so nothing to train on.
        """
        if len({item.tree.nodes[0] for item in items}) < 2:
            return []
        reference = self.reference
        assert reference is not None
        items = with_mismatch(items)
        mine = own_share(len(items))
        rollouts = []
        for place in mine:
            mismatch = items[place].mismatch
            assert mismatch is not None
            rollouts.append(Rollout(items[place].id, mismatch, ended=(True,)))

        def of_mine() -> dict[int, float]:
            columns = read(
                rollouts,
                self.module.pack,
                lambda packed: [reference.logps(packed)],
                self.options.train.pass_tokens,
            )
            return {place: sum(logps) for place, (logps,) in zip(mine, columns, strict=True)}

        logps: dict[int, float] = {}
        for part in done_by_every_process(of_mine):
            logps |= part
        return [replace(item, mismatch_reference=logps[i]) for i, item in enumerate(items)]

    # -- a checkpoint in the middle of a turn --------------------------------------------------

    def kept(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "metrics": self._metrics,
            "items": [_plain(item) for item in self._pool],
        }

    def go_on(self, state: dict[str, Any]) -> list[PreferenceItem]:
        self.state.update(state["state"])
        self._metrics = state["metrics"]
        self._pool = [_item(plain) for plain in state["items"]]
        return self._pool


def _plain(item: PreferenceItem) -> dict[str, Any]:
    """Return what a checkpoint keeps of an item, ready for JSON."""
    trees = {"tree": [node.tokens for node in item.tree.nodes]}
    if item.mismatch is not None:
        trees["mismatch"] = [node.tokens for node in item.mismatch.nodes]
    return {**vars(item), **trees}


def _item(plain: Mapping[str, Any]) -> PreferenceItem:
    """Return the item that `plain` was made of."""
    mismatch = plain["mismatch"]
    return replace(
        PreferenceItem(plain["id"], _tree(plain["tree"])),
        comparisons=tuple(map(tuple, plain["comparisons"])),
        coefficients=tuple(plain["coefficients"]),
        strengths=tuple(plain["strengths"]),
        scores=tuple(plain["scores"]),
        reference=tuple(plain["reference"]),
        mismatch=None if mismatch is None else _tree(mismatch),
        mismatch_reference=plain["mismatch_reference"],
    )


def _tree(nodes: Sequence[Tokens]) -> Tree:
    prompt, *responses = nodes
    return group_tree(prompt, responses)
