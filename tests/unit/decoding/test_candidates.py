"""Minimum Bayes risk, as a slow reference has it that calls sacreBLEU for each pair of candidates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from sacrebleu import sentence_bleu, sentence_chrf

from seq2seq.config import DecodingConfig
from seq2seq.decoding.candidates import CandidateEngine
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.reranking import ReverseModel
from seq2seq.decoding.search import Hypothesis
from seq2seq.decoding.translator import Translation, Translator
from seq2seq.errors import ConfigError, DecodingError

logging.getLogger("sacrebleu").setLevel(logging.ERROR)

SAMPLE = DecodingConfig(sample=True, mbr="chrf", candidates=8, n_best=8, epsilon=0.02)
BEAM = DecodingConfig(mbr="bleu", candidates=6, n_best=6, beam_size=3)
SEARCHES = pytest.mark.parametrize("config", [SAMPLE, BEAM, replace(SAMPLE, mbr="bleu")], ids=["chrf", "beam", "bleu"])


def slow(plain: Translation, config: DecodingConfig) -> dict[str, float]:
    """The expected utility of each text among candidates, by one call for each pair."""
    score = sentence_chrf if config.mbr == "chrf" else sentence_bleu
    return {text: fmean(score(text, [other]).score for other in plain.n_best) for text in plain.n_best}


@SEARCHES
def test_choice_and_utilities_are_those_of_sacrebleu(model, tokenizer, sentences, config) -> None:
    number = config.candidates
    translator = Translator(model, tokenizer)
    listed = replace(config, mbr="off", n_best=number, beam_size=number)
    sizes = set()
    for plain, found in zip(
        translator.translate(sentences[:30], listed), translator.translate(sentences[:30], config), strict=True
    ):
        expected = slow(plain, config)
        scores = dict(zip(found.n_best, (each.score for each in found.hypotheses), strict=True))
        assert scores == pytest.approx(expected, abs=1e-6) and len(scores) == len(found.n_best)
        assert expected[found.text] == pytest.approx(max(expected.values()), abs=1e-6)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        log_probs = dict(zip(plain.n_best[::-1], plain.hypotheses[::-1], strict=True))
        for text, each in zip(found.n_best, found.hypotheses, strict=True):
            assert each.log_prob == pytest.approx(log_probs[text].log_prob, abs=1e-4)
        sizes.add(len(expected))
    assert not config.sample or len(sizes) > 1, "some candidates are drawn twice"


def test_one_candidate_is_the_plain_translation(model, tokenizer, sentences) -> None:
    translator, config = Translator(model, tokenizer), DecodingConfig(beam_size=1)
    plain = translator.translate([*sentences[:20], ""], config)
    chosen = translator.translate([*sentences[:20], ""], replace(config, mbr="chrf", candidates=1))
    assert [each.text for each in chosen] == [each.text for each in plain]
    assert chosen[-1] == Translation("", "")


def test_neighbours_do_not_matter(model, tokenizer, sentences) -> None:
    translator, config = Translator(model, tokenizer), replace(SAMPLE, n_best=1)
    alone = translator.translate(sentences[:30], replace(config, batch_size=1, beam_size=1))
    assert [each.text for each in translator.translate(sentences[:30], config)] == [each.text for each in alone]


def test_workers_choose_as_one_does(model, tokenizer, sentences) -> None:
    texts, config = [*sentences[:40], "", sentences[40]], replace(SAMPLE, n_best=3, batch_size=16)
    expected = Translator(model, tokenizer).translate(texts, config)
    torch.set_num_threads(2)
    found = Translator(model, tokenizer).translate(texts, config)
    torch.set_num_threads(1)
    assert [each.n_best for each in found] == [each.n_best for each in expected]
    assert [each.source for each in found] == texts


def test_parts_of_a_long_sentence_are_chosen_one_by_one(model, tokenizer, sentences) -> None:
    long = ". ".join(sentences[:12])
    (found,) = Translator(model, tokenizer).translate([long], replace(SAMPLE, n_best=4, max_length_ratio=1.0))
    assert len(found.hypotheses) == len(found.n_best) > 1
    scores = [each.score for each in found.hypotheses]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 100 for score in scores)


class Recording(TorchEngine):
    """Notes what it is asked for."""

    asked: DecodingConfig

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        self.asked = config
        return super().search(tasks, config)


def test_memory_is_that_of_a_plain_search(model, tokenizer) -> None:
    engine = CandidateEngine(TorchEngine(model, tokenizer), tokenizer)
    assert engine.batch_size(DecodingConfig(batch_size=64)) == 64
    assert engine.batch_size(DecodingConfig(batch_size=64, mbr="chrf", candidates=32)) == 64 * 5 // 32
    assert engine.batch_size(DecodingConfig(batch_size=2, mbr="chrf", candidates=1000)) == 1


def test_without_a_choice_the_engine_is_asked_for_what_it_always_is(model, tokenizer, sentences) -> None:
    engine, config = Recording(model, tokenizer), DecodingConfig(beam_size=2)
    Translator(engine, tokenizer).translate(sentences[:2], config)
    assert engine.asked is config


def test_what_does_not_fit_is_refused(model, tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"`decoding.n_best` = 9: is over `decoding.candidates` = 8"):
        replace(SAMPLE, n_best=9)
    translator = Translator(model, tokenizer, reverse=ReverseModel(model, tokenizer))
    with pytest.raises(DecodingError, match=r"`decoding.mbr` = chrf: a reverse model chooses already"):
        translator.translate(["a"], SAMPLE)
