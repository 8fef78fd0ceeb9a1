"""Reranking by a reverse model: the formula by hand, one pair at a time, and what becomes of weights and lengths."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from seq2seq.config import Config, DataConfig, DecodingConfig, TokenizerConfig
from seq2seq.data.tokenizer import train_tokenizer
from seq2seq.decoding.reranking import ReverseModel, check_directions
from seq2seq.decoding.translator import Translation, Translator
from seq2seq.errors import DecodingError
from seq2seq.model.transformer import Transformer

CONFIG = DecodingConfig(beam_size=6, candidates=6, n_best=6, reverse_weight=0.7)


@pytest.fixture
def back(model) -> Transformer:
    """A model of the other direction: another random one."""
    made = copy.deepcopy(model)
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def by_hand(model, tokenizer, source: str, target: str) -> tuple[float, int]:
    """The log-probability of a target, and its length, end included."""
    source_ids = torch.tensor(tokenizer.encode_source([source]))
    target_ids = torch.tensor([[tokenizer.start_id, *tokenizer.encode_target([target])[0]]])
    with torch.no_grad():
        logits = model(source_ids, torch.ones_like(source_ids, dtype=torch.bool), target_ids[:, :-1])
    return -F.cross_entropy(logits[0], target_ids[0, 1:], reduction="sum").item(), target_ids.size(1) - 1


@pytest.mark.parametrize("change", [{}, {"length_penalty": 0.0}, {"sample": True, "epsilon": 0.02}], ids=str)
def test_scores_are_those_by_hand(model, back, tokenizer, sentences, change) -> None:
    config = replace(CONFIG, **change)
    # Short, so that most candidates are not too long for the reverse model.
    texts = [text for text in sentences[:40] if len(text.split()) < 6][:12]
    plain = Translator(model, tokenizer).translate(texts, config)
    found = Translator(model, tokenizer, reverse=ReverseModel(back, tokenizer)).translate(texts, config)
    moved = 0
    for source, before, after in zip(texts, plain, found, strict=True):
        expected = {}
        for text, each in zip(before.n_best, before.hypotheses, strict=True):
            if len(tokenizer.encode_source([text])[0]) <= 64:
                log_prob, length = by_hand(back, tokenizer, text, source)
                reverse = log_prob / length**config.length_penalty
                expected.setdefault(text, (each.score + 0.7 * reverse, reverse))
        scores = dict(zip(after.n_best, after.hypotheses, strict=True))
        for text, (score, reverse) in expected.items():
            assert (scores[text].score, scores[text].reverse_score) == pytest.approx((score, reverse), abs=1e-3)
        assert scores.keys() == set(before.n_best)
        assert [each.score for each in after.hypotheses] == sorted((s.score for s in scores.values()), reverse=True)
        moved += after.text != before.text
    assert moved, "the reverse model has a say"


def test_weight_none_is_the_plain_order(model, back, tokenizer, sentences) -> None:
    plain = Translator(model, tokenizer).translate(sentences[:20], CONFIG)
    config = replace(CONFIG, reverse_weight=0.0)
    found = Translator(model, tokenizer, reverse=ReverseModel(back, tokenizer)).translate(sentences[:20], config)
    assert [each.text for each in found] == [each.text for each in plain]


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, n_best=1, length_reward=0.3)])
def test_by_weights_is_what_each_weight_gives(model, back, tokenizer, sentences, config) -> None:
    texts = [*sentences[:20], "", ". ".join(sentences[:30])]  # the last one is split
    translator = Translator(model, tokenizer, config, ReverseModel(back, tokenizer))
    weights = (0.1, 3.0, 0.0)
    together = translator.translate_by_weights(texts, weights)
    singly = [translator.translate(texts, replace(config, reverse_weight=weight)) for weight in weights]
    for found, expected in zip(together, singly, strict=True):
        assert [each.n_best for each in found] == [each.n_best for each in expected]
        for one, other in zip(found, expected, strict=True):
            scores = ([each.score for each in made.hypotheses] for made in (one, other))
            assert next(scores) == pytest.approx(next(scores), abs=1e-4)
    assert len({tuple(each.text for each in found) for found in together}) == 3
    assert together[0][-2] == Translation("", "")


@pytest.mark.parametrize("reward", [0.4, -0.4])
def test_each_token_has_its_reward(model, back, tokenizer, sentences, reward) -> None:
    texts, plain = sentences[:20], Translator(model, tokenizer)
    config = replace(CONFIG, length_reward=reward)
    for translator in (plain, Translator(model, tokenizer, reverse=ReverseModel(back, tokenizer))):
        without, rewarded = (translator.translate(texts, each) for each in (CONFIG, config))
        for before, after in zip(without, rewarded, strict=True):
            expected = dict[str, float]()
            for text, each in zip(before.n_best, before.hypotheses, strict=True):
                expected.setdefault(text, each.score + reward * (len(each.tokens) + 1))
            found = {text: each.score for text, each in zip(after.n_best, after.hypotheses, strict=True)}
            assert found == pytest.approx(expected, abs=1e-5)
            assert after.text == max(expected, key=lambda text: expected[text])
        lengths = [sum(len(each.hypotheses[0].tokens) for each in found) for found in (without, rewarded)]
        assert lengths[1] > lengths[0] if reward > 0 else lengths[1] < lengths[0]


def test_what_is_too_long_for_the_reverse_model_is_cut(back, tokenizer, sentences) -> None:
    long = " ".join(sentences[:20])
    reverse = ReverseModel(back, tokenizer)
    found = reverse.scores([(long, sentences[0]), (sentences[0], long), (long, long)], CONFIG)
    assert len(found) == 3 and all(score < 0 for score in found)


def test_the_tag_of_the_reverse_run_stands_before_what_it_translates(back, tokenizer, sentences) -> None:
    pairs = list(zip(sentences[:5], sentences[5:10], strict=True))
    tagged = [(source, f"b {translation}") for source, translation in pairs]
    plain = ReverseModel(back, tokenizer)
    found = ReverseModel(back, tokenizer, "b").scores(pairs, CONFIG)
    assert found == plain.scores(tagged, CONFIG) != plain.scores(pairs, CONFIG)


def test_the_tag_of_a_line_is_not_what_the_reverse_run_is_to_find(model, back, tmp_path, sentences) -> None:
    settings = TokenizerConfig(vocab_size=300, user_symbols=("<2de>",))
    tokenizer = train_tokenizer(settings, sentences, sentences, tmp_path / "tokenizer")
    translator = Translator(model, tokenizer, reverse=ReverseModel(back, tokenizer))
    lines = [f"<2de> {sentences[0]}", f"<b> {sentences[0]}", sentences[0]]
    parts = translator._parts(lines, 0, CONFIG)
    assert [part.text for part in parts] == [sentences[0], lines[1], sentences[0]]
    assert parts[0].tokens != parts[2].tokens


@pytest.mark.parametrize("reward", [0.0, 0.3])
def test_parts_of_a_long_sentence_are_chosen_one_by_one(model, back, tokenizer, sentences, reward) -> None:
    long = ". ".join(sentences[:12])
    translator = Translator(model, tokenizer, reverse=ReverseModel(back, tokenizer))
    (found,) = translator.translate([long], replace(CONFIG, max_length_ratio=1.0, length_reward=reward))
    assert len(found.n_best) > 1 and all(each.reverse_score is not None for each in found.hypotheses)
    scores = [each.score for each in found.hypotheses]
    assert scores == sorted(scores, reverse=True)


def test_a_run_of_the_same_direction_is_refused() -> None:
    there = Config(data=DataConfig(source_language="de", target_language="en"))
    back = Config(data=DataConfig(source_language="en", target_language="de"))
    check_directions(there, back, "RUN")
    check_directions(there, Config(), "RUN")
    imported = Config(data=DataConfig(source_language="eng", target_language="ger"))
    check_directions(there, imported, "RUN")
    with pytest.raises(DecodingError, match=r"RUN: translates de to en; .* must translate en to de"):
        check_directions(there, there, "RUN")
