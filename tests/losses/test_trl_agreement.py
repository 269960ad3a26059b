"""TRL's own trainers are the referee (float64, 1e-6).

Two ways of asking. A stub in place of the model hands TRL chosen log-probabilities or scores as
parameters, so its loss is checked over a wide range and its gradient with respect to them. A tiny
Llama goes through TRL's trainer untouched, and our side is computed from the plain logits.
"""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from rewarddiff.losses.pairwise import dpo
from rewarddiff.losses.pointwise import log_ratio
from rewarddiff.losses.scoring import bradley_terry

WORDS = ["[PAD]", "[EOS]", "[UNK]", *"abcdefghijklmnopqrst"]
ROWS = [
    {"prompt": "a b c", "chosen": " d e f g", "rejected": " h"},
    {"prompt": "d", "chosen": " k l", "rejected": " m n o p q r"},
    {"prompt": "s t a b", "chosen": " e", "rejected": " e f g"},
]
TIGHT = {"rtol": 1e-6, "atol": 1e-9}
SINGLE = {"rtol": 1e-5, "atol": 1e-6}  # where TRL itself goes through float32


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    )


def llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,  # far from uniform, so that the pairs differ
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        num_labels=1,
    )


def quiet(output: object) -> dict[str, object]:
    return {
        "output_dir": str(output),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": len(ROWS),
    }


@pytest.fixture(scope="module")
def dpo_trainer(tmp_path_factory: pytest.TempPathFactory) -> DPOTrainer:
    torch.manual_seed(0)
    policy, reference = (
        LlamaForCausalLM(llama_config()).double(),
        LlamaForCausalLM(llama_config()).double(),
    )
    return DPOTrainer(
        model=policy,
        ref_model=reference,
        args=DPOConfig(beta=0.3, **quiet(tmp_path_factory.mktemp("dpo"))),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer(),
    )


@pytest.fixture(scope="module")
def reward_trainer(tmp_path_factory: pytest.TempPathFactory) -> RewardTrainer:
    torch.manual_seed(0)
    margins = [0.5, 0.0, 2.25]  # exact in the float32 that TRL's collator makes of them
    rows = [
        {
            "chosen": row["prompt"] + row["chosen"],
            "rejected": row["prompt"] + row["rejected"],
            "margin": margin,
        }
        for row, margin in zip(ROWS, margins, strict=True)
    ]
    return RewardTrainer(
        model=LlamaForSequenceClassification(llama_config()).double(),
        args=RewardConfig(**quiet(tmp_path_factory.mktemp("reward"))),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )


class GivenLogProbs(nn.Module):
    """Stands where TRL expects a model; returns given log-probabilities, one token each."""

    def __init__(self, logps: Tensor) -> None:
        super().__init__()
        self.logps = nn.Parameter(logps)

    def forward(self, **_: object) -> SimpleNamespace:
        one = self.logps.unsqueeze(1)
        return SimpleNamespace(log_probs=one, entropy=one, mean_logits=one, is_top1=one > 0)


class GivenScores(nn.Module):
    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=self.scores.unsqueeze(1))


def trl_dpo(
    trainer: DPOTrainer,
    monkeypatch: pytest.MonkeyPatch,
    policy: Tensor,
    reference: Tensor,
    **settings: object,
) -> tuple[Tensor, Tensor]:
    """TRL's mean loss and its gradient; inputs are [chosen…, rejected…]."""
    for name, value in {"precompute_ref_logps": True, **settings}.items():
        monkeypatch.setattr(trainer, name, value)
    model, (ref_chosen, ref_rejected) = GivenLogProbs(policy), reference.chunk(2)
    two_tokens = torch.ones(len(policy), 2, dtype=torch.long)
    inputs = {
        "input_ids": two_tokens,
        "attention_mask": two_tokens,
        "completion_mask": torch.tensor([[0, 1]] * len(policy)),
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    return loss.detach(), model.logps.grad


def h_of(policy: Tensor, reference: Tensor) -> Tensor:
    """The policy's difference, from log-probabilities [chosen…, rejected…]."""
    chosen, rejected = log_ratio(policy, reference).chunk(2)
    return chosen - rejected


def our_dpo(policy: Tensor, reference: Tensor, **settings: float) -> tuple[Tensor, Tensor]:
    logps = policy.clone().requires_grad_()
    losses = dpo(h_of(logps, reference), **settings)
    losses.mean().backward()
    return losses.detach(), logps.grad


def spread_logps(pairs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities as they come: −5 to −300 nats, log-ratios up to some ±100."""
    torch.manual_seed(seed)
    policy = -5 - 295 * torch.rand(2 * pairs, dtype=torch.float64)
    return policy, policy + 40 * torch.randn(2 * pairs, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.2, 1.0])
def test_dpo_equals_trl_on_given_log_probabilities(
    dpo_trainer: DPOTrainer, monkeypatch: pytest.MonkeyPatch, beta: float
) -> None:
    policy, reference = spread_logps(64, seed=1)
    theirs, their_gradient = trl_dpo(
        dpo_trainer, monkeypatch, policy, reference, loss_types=["sigmoid"], beta=beta
    )
    ours, our_gradient = our_dpo(policy, reference, beta=beta)
    torch.testing.assert_close(ours.mean(), theirs, **TIGHT)
    torch.testing.assert_close(our_gradient, their_gradient, **TIGHT)


@pytest.mark.parametrize("smoothing", [0.05, 0.2, 0.45])
def test_cdpo_equals_trl_pair_by_pair(
    dpo_trainer: DPOTrainer, monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    # TRL 1.16 smooths labels in its "aot" loss (its "sigmoid" loss ignores label_smoothing). AOT
    # sorts the batch before it compares; a batch of one pair is sorted already, and what is left is
    # cDPO.
    policy, reference = spread_logps(8, seed=2)
    ours, our_gradient = our_dpo(policy, reference, beta=0.1, label_smoothing=smoothing)
    for i in range(8):
        pair = [i, 8 + i]
        theirs, their_gradient = trl_dpo(
            dpo_trainer,
            monkeypatch,
            policy[pair],
            reference[pair],
            loss_types=["aot"],
            beta=0.1,
            label_smoothing=smoothing,
        )
        torch.testing.assert_close(ours[i], theirs, **TIGHT)
        torch.testing.assert_close(
            our_gradient[pair], their_gradient / 8, **TIGHT
        )  # ours is the mean over 8 pairs


def test_cdpo_is_the_mixture_that_trl_robust_undoes(
    dpo_trainer: DPOTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With P the DPO loss of the pair and S that of the pair swapped (Chowdhury et al. 2024, arXiv
    # 2403.00409): rDPO = [(1−ε)P − εS]/(1−2ε) and cDPO = (1−ε)P + εS. Eliminate S: cDPO = 2(1−ε)P −
    # (1−2ε)·rDPO. At ε = 0.2: 1.6·P − 0.6·rDPO, with P and rDPO from TRL.
    policy, reference = spread_logps(64, seed=3)
    settings = {"beta": 0.05, "label_smoothing": 0.2}
    robust, robust_gradient = trl_dpo(
        dpo_trainer, monkeypatch, policy, reference, loss_types=["robust"], **settings
    )
    plain, plain_gradient = trl_dpo(
        dpo_trainer, monkeypatch, policy, reference, loss_types=["sigmoid"], **settings
    )
    ours, our_gradient = our_dpo(policy, reference, **settings)
    torch.testing.assert_close(ours.mean(), 1.6 * plain - 0.6 * robust, **TIGHT)
    torch.testing.assert_close(our_gradient, 1.6 * plain_gradient - 0.6 * robust_gradient, **TIGHT)


def summed_logps(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Σ of the completion's log-probabilities, from the plain logits of the body and head."""
    logits = model.lm_head(
        model.model(batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    )
    logps = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (logps * batch["completion_mask"][:, 1:]).sum(1)


def test_dpo_through_a_llama_equals_trl(dpo_trainer: DPOTrainer) -> None:
    # TRL's fused output layer takes log-probabilities in float32 whatever the model's type: its
    # floor is the bound.
    batch = next(iter(dpo_trainer.get_train_dataloader()))
    policy, reference = dpo_trainer.model, dpo_trainer.ref_model
    assert policy.dtype == reference.dtype == torch.float64

    policy.zero_grad()
    theirs = dpo_trainer.compute_loss(policy, batch)
    theirs.backward()
    their_gradients = {name: p.grad.clone() for name, p in policy.named_parameters()}

    policy.zero_grad()
    with torch.no_grad():
        reference_logps = summed_logps(reference, batch)
    ours = dpo(h_of(summed_logps(policy, batch), reference_logps), beta=0.3).mean()
    ours.backward()

    torch.testing.assert_close(ours.float(), theirs, **SINGLE)
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, their_gradients[name], **SINGLE, msg=name)


@pytest.mark.parametrize("with_margin", [False, True])
def test_bradley_terry_equals_trl_on_given_scores(
    reward_trainer: RewardTrainer, with_margin: bool
) -> None:
    torch.manual_seed(4)
    scores = 10 * torch.randn(128, dtype=torch.float64)
    margin = 3 * torch.rand(64, dtype=torch.float64) if with_margin else None
    model = GivenScores(scores.clone())
    inputs = {
        "attention_mask": torch.ones(128, 1, dtype=torch.long),
        **({"margin": margin} if with_margin else {}),
    }
    theirs = reward_trainer.compute_loss(model, inputs)
    theirs.backward()

    ours_in = scores.clone().requires_grad_()
    chosen, rejected = ours_in.chunk(2)
    ours = bradley_terry(chosen - rejected, margin).mean()
    ours.backward()
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close(ours_in.grad, model.scores.grad, **TIGHT)


def test_bradley_terry_with_margin_through_a_llama_equals_trl(
    reward_trainer: RewardTrainer,
) -> None:
    batch = next(iter(reward_trainer.get_train_dataloader()))
    model = reward_trainer.model
    assert "margin" in batch
    assert model.dtype == torch.float64

    model.zero_grad()
    theirs = reward_trainer.compute_loss(model, dict(batch))
    theirs.backward()
    their_gradients = {name: p.grad.clone() for name, p in model.named_parameters()}

    model.zero_grad()
    states = model.model(batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    ends = batch["attention_mask"].sum(1) - 1  # padded on the right
    scores = model.score(states[torch.arange(len(ends)), ends]).squeeze(-1)
    chosen, rejected = scores.chunk(2)
    ours = bradley_terry(chosen - rejected, batch["margin"].double()).mean()
    ours.backward()

    torch.testing.assert_close(ours, theirs, **TIGHT)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, their_gradients[name], **TIGHT, msg=name)
