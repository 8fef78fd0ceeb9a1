"""The gradient of the risk against autograd on its definition, and that learning by it lowers it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from sacrebleu import sentence_bleu, sentence_chrf
from torch.nn import functional as F

from seq2seq.checkpoint import load_model
from seq2seq.config import TrainingConfig
from seq2seq.data.batching import Batch, Examples, TokenSequences, make_batch
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.search import Hypothesis
from seq2seq.model.transformer import Transformer
from seq2seq.training.loss import TranslationLoss
from seq2seq.training.risk import RiskLoss

PAIRS = [
    (" ".join("ab"[(number >> bit) % 2] for bit in range(5)), " ".join("AB"[(number >> bit) % 2] for bit in range(5)))
    for number in range(1, 32, 5)
]


@pytest.fixture(scope="module")
def learnt(trained_run: Path) -> tuple[Transformer, Tokenizer]:
    """A model that has half learnt some pairs, so that its translations of these are of all kinds."""
    loaded = load_model(trained_run)
    model, batch = without_dropout(loaded.model), batch_of(loaded.tokenizer)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.003), TranslationLoss(model, 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (loss(batch).minimised / batch.num_target_tokens).backward()
        optimizer.step()
    return model, loaded.tokenizer


def without_dropout(model: Transformer) -> Transformer:
    made = copy.deepcopy(model).train()
    for module in made.modules():
        if hasattr(module, "p"):
            module.p = 0.0
    return made


def batch_of(tokenizer: Tokenizer) -> Batch:
    sources, targets = tokenizer.encode_source([s for s, _ in PAIRS]), tokenizer.encode_target([t for _, t in PAIRS])
    examples = Examples(TokenSequences.of(sources), TokenSequences.of(targets))
    return make_batch(examples, range(len(PAIRS)), tokenizer.pad_id, tokenizer.start_id)


def candidates_of(loss: RiskLoss, batch: Batch) -> list[list[Hypothesis]]:
    references = [ids[mask].tolist() for ids, mask in zip(batch.target_output, batch.target_mask, strict=True)]
    return loss._candidates(batch, references)


def risk_by_hand(
    model: Transformer, tokenizer: Tokenizer, candidates: list[list[Hypothesis]], measure: str
) -> torch.Tensor:
    """The risk as it is defined, one candidate at a time."""
    total, differ = torch.zeros(()), 0
    for (source, reference), found in zip(PAIRS, candidates, strict=True):
        ids = torch.tensor(tokenizer.encode_source([source]))
        mean_log_probs, good = [], []
        for each in found:
            text = tokenizer.decode_target(each.tokens)
            if measure == "chrf":
                good.append(sentence_chrf(text, [reference]).score)
            else:
                bleu = sentence_bleu(text, [reference])
                brevity = torch.tensor(1 - bleu.ref_len / max(bleu.sys_len, 1)).exp().item()
                good.append(bleu.score / bleu.bp * brevity if bleu.score else 0.0)
            target = torch.tensor([tokenizer.start_id, *each.tokens, tokenizer.eos_id])
            logits = model(ids, torch.ones_like(ids, dtype=torch.bool), target[None, :-1])[0]
            mean_log_probs.append(-F.cross_entropy(logits, target[1:]))
        costs = torch.tensor([(max(good) - each) / max(max(good) - min(good), 1e-6) for each in good])
        differ += max(good) > min(good)
        length = len(tokenizer.encode_target([reference])[0])
        total = total + length * (torch.stack(mean_log_probs).softmax(0) * costs).sum()
    assert differ >= 5, "candidates are not all as good"
    return total


@pytest.mark.parametrize("measure", ["bleu", "chrf"])
def test_the_gradient_is_that_of_the_risk_and_cross_entropy(learnt, measure: str) -> None:
    model, tokenizer = without_dropout(learnt[0]), learnt[1]
    batch = batch_of(tokenizer)
    loss = RiskLoss(model, tokenizer, TrainingConfig(minimum_risk=2.5, risk_measure=measure, risk_candidates=5))
    found = loss(batch)
    ours = torch.autograd.grad(found.minimised, list(model.parameters()))
    plain = TranslationLoss(model, 0.1)(batch)
    expected = plain.minimised + 2.5 * risk_by_hand(model, tokenizer, candidates_of(loss, batch), measure)
    by_hand = torch.autograd.grad(expected, list(model.parameters()))
    assert any(gradient.abs().max() > 0.01 for gradient in by_hand)
    torch.testing.assert_close(ours, by_hand, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close((found.smoothed, found.plain), (plain.smoothed, plain.plain))
    assert model.training


def test_learning_by_the_risk_of_some_candidates_lowers_it(learnt, monkeypatch) -> None:
    model, tokenizer = without_dropout(learnt[0]), learnt[1]
    loss = RiskLoss(model, tokenizer, TrainingConfig(minimum_risk=1e5, risk_candidates=5))
    optimizer, batch = torch.optim.SGD(model.parameters(), lr=1e-7), batch_of(tokenizer)
    candidates = candidates_of(loss, batch)
    monkeypatch.setattr(loss, "_candidates", lambda *_: candidates)  # not those of the model that has learnt
    before = risk_by_hand(model, tokenizer, candidates, "bleu").item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(batch).minimised.backward()
        optimizer.step()
    assert risk_by_hand(model, tokenizer, candidates, "bleu").item() < 0.97 * before


def test_candidates_are_found_without_dropout_and_learnt_from_with_it(learnt) -> None:
    model, batch = copy.deepcopy(learnt[0]), batch_of(learnt[1])
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.2
    loss = RiskLoss(model, learnt[1], TrainingConfig(minimum_risk=0.5, risk_candidates=5))
    first, second = (candidates_of(loss, batch) for _ in range(2))
    assert first == second
    memory = model.encode(batch.source, batch.source_mask)
    assert loss._risk(batch, memory) != loss._risk(batch, memory)
