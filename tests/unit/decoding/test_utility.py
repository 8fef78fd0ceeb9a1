"""Utilities of all pairs at once are those of sacreBLEU one by one."""

from __future__ import annotations

import logging
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import sentence_bleu, sentence_chrf

from seq2seq.decoding.utility import bleu_utilities, chrf_utilities

logging.getLogger("sacrebleu").setLevel(logging.ERROR)

# Few words, so that texts have much in common, and repeat themselves; and whatever else a text may hold.
WORDS = st.sampled_from(["a", "ab", "ba", "the", "The", "dog.", "1,5", "(x)", "a-b", "&amp;", "é"])
TEXTS = st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.text(max_size=20))


@pytest.mark.parametrize(("utilities", "score"), [(chrf_utilities, sentence_chrf), (bleu_utilities, sentence_bleu)])
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=150)
def test_they_are_those_of_sacrebleu(utilities, score, texts: list[str]) -> None:
    found = utilities(texts)
    assert found.shape == (len(texts), len(texts))
    for row, text in zip(found, texts, strict=True):
        assert row.tolist() == pytest.approx([score(text, [other]).score for other in texts], abs=1e-8)


@given(texts=st.lists(TEXTS, min_size=2, max_size=4))
def test_length_is_rewarded_beyond_the_reference(texts: list[str]) -> None:
    both = (bleu_utilities(texts), bleu_utilities(texts, rewards_length=True))
    for row, rewarded, text in zip(*both, texts, strict=True):
        for plain, found, other in zip(row, rewarded, texts, strict=True):
            bleu = sentence_bleu(text, [other])
            factor = math.exp(max(0.0, 1 - bleu.ref_len / bleu.sys_len)) if bleu.sys_len else 1.0
            assert found == pytest.approx(plain * factor)
