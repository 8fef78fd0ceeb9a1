"""Scores of given translations: by hand, and as search gives them."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding import scoring
from seq2seq.decoding.scoring import score_tokens
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DecodingError


def score_pairs(model, tokenizer, pairs, batch_tokens: int = 4096) -> list[float]:
    sources = tokenizer.encode_source([source for source, _ in pairs])
    targets = tokenizer.encode_target([target for _, target in pairs])
    return score_tokens(model, tokenizer, sources, targets, batch_tokens)


@pytest.fixture
def pairs(sentences: list[str]) -> list[tuple[str, str]]:
    return list(zip(sentences[:20], sentences[20:40], strict=True))


def test_score_is_the_log_probability_of_each_token(model, tokenizer, pairs) -> None:
    (source, target), (found,) = pairs[0], score_pairs(model, tokenizer, pairs[:1])
    source_ids = torch.tensor(tokenizer.encode_source([source]))
    target_ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode_target([target])[0]]])
    with torch.no_grad():
        logits = model(source_ids, torch.ones_like(source_ids, dtype=torch.bool), target_ids[:, :-1])
    by_hand = -torch.nn.functional.cross_entropy(logits[0], target_ids[0, 1:], reduction="sum")
    assert found == pytest.approx(by_hand.item(), abs=1e-3)


def test_neighbours_and_slices_do_not_matter(model, tokenizer, pairs, monkeypatch) -> None:
    together = score_pairs(model, tokenizer, pairs)
    monkeypatch.setattr(scoring, "_POSITIONS", 7)
    assert score_pairs(model, tokenizer, pairs, batch_tokens=1) == pytest.approx(together, abs=1e-3)
    assert score_pairs(model, tokenizer, []) == []


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(beam_size=1),
        DecodingConfig(beam_size=4, n_best=4),
        DecodingConfig(beam_size=3, n_best=3, no_repeat_ngram=2, min_length_ratio=0.5, max_length_offset=0),
        DecodingConfig(sample=True, n_best=3, temperature=0.7, top_k=20, top_p=0.9),
    ],
    ids=["greedy", "beam", "rules", "sample"],
)
def test_scoring_reproduces_the_scores_of_search(model, tokenizer, sentences, config) -> None:
    translations = Translator(model, tokenizer, config).translate(sentences[:40])
    found = [(t.source, each) for t in translations for each in t.hypotheses]
    assert len(found) == 40 * config.n_best
    sources = tokenizer.encode_source([source for source, _ in found])
    targets = [[*each.tokens, tokenizer.eos_id] for _, each in found]
    assert score_tokens(model, tokenizer, sources, targets) == pytest.approx(
        [each.log_prob for _, each in found], rel=1e-5, abs=1e-4
    )


def test_too_long_a_pair_is_named(model, tokenizer, pairs) -> None:
    with pytest.raises(DecodingError, match=r"pair 2 has a side of \d+ tokens: the model takes 64"):
        score_pairs(model, tokenizer, [pairs[0], ("a", "abc " * 300), pairs[1]])
