"""The stages of a recipe, each with what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from rewarddiff.config import to_dict
from rewarddiff.data import Groups
from rewarddiff.designs import DesignConfig
from rewarddiff.footprint.shapes import shape_of
from rewarddiff.pipeline.planning import amounts, calls, costs
from rewarddiff.pipeline.planning.amounts import SAMPLED, Amount
from rewarddiff.pipeline.planning.calls import NO_CALLS, Calls
from rewarddiff.pipeline.planning.costs import Planned
from rewarddiff.pipeline.planning.done import Done
from rewarddiff.pipeline.planning.machines import Device
from rewarddiff.pipeline.planning.own_samples import rollouts
from rewarddiff.pipeline.planning.readings import Readings
from rewarddiff.pipeline.planning.work import Tokens
from rewarddiff.pipeline.policy_recipe import OrderConfig, PolicyRecipe
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.store import fingerprint


class Planner:
    """Plans a recipe on data that is read and split.

    Args:
        tests: groups of further test files, by name.
        folder: of the run. data: fingerprint of the data: by both, stages are known that are done.
        most: prompts of each split that are tokenised.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Mapping[str, Groups],
        tests: Mapping[str, Groups],
        device: Device,
        *,
        folder: Path,
        data: str,
        most: int = SAMPLED,
    ) -> None:
        self.recipe = recipe
        self.splits = splits
        self.device = device
        self.most = most
        self.held_out = dict(tests)
        if "test" in splits:
            self.held_out = {"test": splits["test"], **tests}
        self._done = Done(folder, data)
        self._readings = Readings(recipe, most)
        self._referred: set[tuple[bool, bool, bool, int | None, bool]] = set()

    @property
    def sampled(self) -> int | None:
        """How many prompts of a split were tokenised at most; None: all were."""
        parts = [*self.splits.values(), *self.held_out.values()]
        return self.most if max(map(len, parts)) > self.most else None

    def stages(self) -> Iterator[Planned]:
        """Yield the stages in the order in which they run; what several ask for stands once."""
        seen: set[str] = set()
        for planned in self._stages():
            if planned.folder not in seen:
                seen.add(planned.folder)
                yield self._marked(planned)

    def trainings(self) -> Iterator[Planned]:
        """Yield the trainings alone, of the first seed: what a machine has to have room for."""
        seed = self.recipe.seeds[0]
        for name, scorer in self.recipe.scorer_models.items():
            if scorer.trained is None:
                yield self._marked(self._scorer_training(name, scorer, seed))
        for name, policy in self.recipe.trained_here.items():
            yield self._marked(self._policy_training(name, policy, seed))

    def _marked(self, planned: Planned) -> Planned:
        done = self._done(planned.folder, planned.inputs, planned.needs)
        return replace(planned, done=done)

    def _stages(self) -> Iterator[Planned]:
        for seed in self.recipe.seeds:
            for name in self.recipe.scorers:
                yield from self._scorer(name, seed)
            for name, policy in self.recipe.trained_here.items():
                yield from self._columns(name, policy, seed)
                yield self._policy_training(name, policy, seed)
            if self._is_judged:
                yield from self._judging(seed)

    # -- scorers ------------------------------------------------------------------------------

    def _scorer(self, name: str, seed: int) -> Iterator[Planned]:
        """Yield a scorer's training and its evaluation."""
        config = self.recipe.scorers[name]
        if isinstance(config, ScorerRecipe) and config.trained is None:
            yield self._scorer_training(name, config, seed)
        groups = list(self.held_out.values())
        if groups:
            yield self._asked(f"evaluations/{name}-{seed}", name, seed, groups)

    def _scorer_training(self, name: str, config: ScorerRecipe, seed: int) -> Planned:
        shape = self._readings.scorer_shape(name)
        amount = self._readings.trained_by_scorer(name, self.splits["train"])
        dev = Amount()
        if "dev" in self.splits:
            dev = self._readings.by_scorer(name, self.splits["dev"])
        times = amounts.schedule(amount, config.train, cuts_items=False)
        # The temperature is fitted on the dev split, too.
        read = dev.tokens.times(times.dev + 1)
        planned = costs.training(self.device, shape, amount, times, read, config.train)
        needs = (f"scorers/{config.warm_start}-{seed}",) if config.warm_start else ()
        return replace(
            planned,
            folder=f"scorers/{name}-{seed}",
            trains=f"scorers.{name}",
            inputs={"config": to_dict(config.own), "seed": seed},
            needs=needs,
        )

    def _asked(
        self,
        folder: str,
        name: str,
        seed: int,
        groups: list[Groups],
        design: DesignConfig | None = None,
    ) -> Planned:
        """Return what it takes to ask a scorer of the comparisons of groups."""
        planned = self._answers(folder, name, groups, design)
        return replace(planned, needs=(f"scorers/{name}-{seed}",))

    def _answers(
        self, folder: str, name: str, groups: list[Groups], design: DesignConfig | None
    ) -> Planned:
        config = self.recipe.scorers[name]
        if isinstance(config, Judge):
            asked = NO_CALLS
            for part in groups:
                asked += calls.of_groups(config, part, design)
            return self._calls(folder, config, asked)
        if not isinstance(config, ScorerRecipe):
            return Planned(folder)
        tokens = Tokens()
        for part in groups:
            tokens += self._readings.by_scorer(name, part, design=design).tokens
        planned = costs.reading(self.device, self._readings.scorer_shape(name), tokens)
        return replace(planned, folder=folder)

    def _calls(self, folder: str, judge: Judge, asked: Calls) -> Planned:
        """Return what calls take: of a model that is read here, its work in place of a price."""
        if judge.local is None:
            return Planned(folder, calls=asked)
        shape = shape_of(judge.local)
        read = Tokens(asked.prompt_tokens, 0, asked.prompt_tokens**2 / max(1, 2 * asked.calls))
        planned = costs.writing(self.device, shape, read, asked.completion_tokens)
        return replace(planned, folder=folder)

    # -- policies -----------------------------------------------------------------------------

    def _columns(self, name: str, policy: PolicyRecipe, seed: int) -> Iterator[Planned]:
        """Yield what a policy's columns ask of scorers."""
        train = self.splits["train"]
        if policy.online is not None:
            return
        for kind, column in policy.columns.items():
            source = self.recipe.source_of(name, kind)
            if source not in self.recipe.scorers:
                continue
            if isinstance(column, OrderConfig):
                folder = _order_folder(source, column, seed)
                yield self._asked(folder, source, seed, [train], column.design)
                continue
            suffix = ""
            if policy.order is not None:
                by = self.recipe.source_of(name, "order")
                suffix = f"-as-{_order_folder(by, policy.order, seed).partition('/')[2]}"
            folder = f"differences/{source}-{column.orders}-{seed}{suffix}"
            yield self._asked(folder, source, seed, [train])

    def _policy_training(self, name: str, policy: PolicyRecipe, seed: int) -> Planned:
        if policy.online is not None:
            return self._online(name, policy, seed)
        amount = self._readings.by_policy(policy, self.splits["train"])
        dev = Amount()
        if "dev" in self.splits and policy.train.eval_every is not None:
            dev = self._readings.by_policy(policy, self.splits["dev"])
        times = amounts.schedule(amount, policy.train, cuts_items=True)
        read = dev.tokens.times(times.dev)
        if self._is_first_to_refer(policy):
            # KTO also reads a response to another prompt beside each.
            of_each = 2 if "mismatch" in policy.objective.reads else 1
            once = amount.tokens.times(min(1.0, times.epochs)) + dev.tokens
            read += once.times(of_each)
        if getattr(policy.objective, "probes", None) is not None:
            read += amount.tokens.times(times.epochs)
        planned = costs.training(
            self.device, self._readings.policy_shape, amount, times, read, policy.train, policy.lora
        )
        return self._named(planned, name, policy, seed)

    def _named(self, planned: Planned, name: str, policy: PolicyRecipe, seed: int) -> Planned:
        """Return the training of a policy with its name, and what it is made from."""
        sources = sorted(self.recipe.sources_of(name))
        return replace(
            planned,
            folder=f"policies/{name}-{seed}",
            trains=f"policies.{name}",
            inputs={"config": policy.settings, "seed": seed},
            needs=tuple(f"scorers/{source}-{seed}" for source in sources),
        )

    def _is_first_to_refer(self, policy: PolicyRecipe) -> bool:
        """Tell whether a policy's reference is read for it: what one has read is kept for all."""
        if "reference" not in policy.objective.reads:
            return False
        in_bf16 = policy.train.precision == "bf16"
        bits = None if policy.lora is None else policy.lora.bits
        key = (
            policy.train.weights != "fp32",
            in_bf16,
            in_bf16 and policy.lora is not None,
            bits,
            "mismatch" in policy.objective.reads,
        )
        is_first = key not in self._referred
        self._referred.add(key)
        return is_first

    def _online(self, name: str, policy: PolicyRecipe, seed: int) -> Planned:
        """Return what it takes to learn from samples, were each as long as it may be."""
        assert policy.online is not None
        train = self.splits["train"]
        shape = self._readings.policy_shape
        prompt = self._readings.prompt(train)
        rolled = rollouts(policy.online, policy.train, len(train))
        amount = rolled.amount(prompt, policy.train.batch_size)
        times = amounts.schedule(amount, policy.train, cuts_items=True)
        times = replace(times, steps=rolled.steps, epochs=rolled.reads, dev=0)
        # The samples are read once more by the policy and once by the reference.
        read = amount.tokens.times(2)
        planned = costs.training(self.device, shape, amount, times, read, policy.train, policy.lora)
        written = rolled.new * rolled.drawn
        drawn = costs.writing(self.device, shape, Tokens(prompt * rolled.drawn), written)
        scorer = self._scoring(self.recipe.online_source(name), prompt, rolled.new, rolled.drawn)
        return self._named(costs.together(planned, drawn, scorer), name, policy, seed)

    # -- samples and who judges them ----------------------------------------------------------

    @property
    def _is_judged(self) -> bool:
        return bool(self.recipe.policies and self.recipe.scorers and "test" in self.splits)

    @cached_property
    def _prompts(self) -> int:
        most = self.recipe.evaluation.prompts
        held_out = len(self.splits["test"])
        return held_out if most is None else min(most, held_out)

    def _judging(self, seed: int) -> Iterator[Planned]:
        """Yield samples of every policy, their rewards, and what judges say of them."""
        recipe = self.recipe
        prompt = self._readings.prompt(self.splits["test"])
        new = recipe.evaluation.sampling.max_new_tokens
        given: dict[str, str] = {BASE: str(recipe.model), **recipe.folders_elsewhere}
        for name in (BASE, *recipe.policies):
            if name in recipe.served:
                yield Planned(f"samples/{name}", calls=calls.of_samples(self._prompts, prompt, new))
                continue
            shape = shape_of(given[name]) if name in given else self._readings.policy_shape
            folder = f"samples/{name}" if name in given else f"samples/{name}-{seed}"
            read = Tokens(prompt * self._prompts, 0, self._prompts * prompt**2 / 2)
            drawn = costs.writing(self.device, shape, read, new * self._prompts)
            yield replace(drawn, folder=folder, needs=(f"policies/{name}-{seed}",))
        samples = (1 + len(recipe.policies)) * self._prompts
        rewards = []
        verdicts = []
        for name in recipe.scorers:
            if name not in recipe.judges:
                rewards.append(self._scoring(name, prompt, new, samples))
        for judge in recipe.judges.values():
            if isinstance(judge, Judge):
                asked = calls.of_verdicts(judge, recipe, self.splits["test"], self._prompts)
                verdicts.append(self._calls("", judge, asked))
        for folder, parts in (("rewards", rewards), ("verdicts", verdicts)):
            if parts:
                whole = costs.together(*parts)
                yield replace(whole, folder=f"{folder}/{seed}", needs=self._trained(seed))

    def _trained(self, seed: int) -> tuple[str, ...]:
        """Return the trainings of a seed."""
        scorers = [f"scorers/{name}-{seed}" for name in self.recipe.scorer_models]
        return (*scorers, *(f"policies/{name}-{seed}" for name in self.recipe.trained_here))

    def _scoring(self, name: str, prompt: float, new: float, responses: float) -> Planned:
        """Return what it takes to have a scorer read responses."""
        config = self.recipe.scorers[name]
        if isinstance(config, Judge):
            return self._calls("", config, calls.of_pairs(config, prompt, new, responses / 2))
        if not isinstance(config, ScorerRecipe):
            return Planned("")
        length = prompt + new
        if not config.reads_apart:
            length = 2 * (prompt + 2 * new)  # beside the base model's, in both orders
        tokens = Tokens(length, 0, length**2 / 2).times(responses)
        return costs.reading(self.device, self._readings.scorer_shape(name), tokens)


def _order_folder(scorer: str, order: OrderConfig, seed: int) -> str:
    return f"orders/{scorer}-{fingerprint(to_dict(order))[:8]}-{seed}"
