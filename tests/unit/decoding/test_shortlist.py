"""Search among the tokens of a shortlist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seq2seq.config import DecodingConfig
from seq2seq.data.lexicon import Lexicon
from seq2seq.decoding.engine import TorchEngine
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DecodingError

SEARCHES = [
    DecodingConfig(beam_size=1), DecodingConfig(beam_size=4, n_best=2, no_repeat_ngram=2),
    DecodingConfig(sample=True, n_best=2),
]  # fmt: skip


def everything(tokenizer) -> Lexicon:
    size = tokenizer.target_vocab_size
    return Lexicon(np.full((tokenizer.source_vocab_size, 1), -1, np.int32), np.arange(size, dtype=np.int32))


@pytest.mark.parametrize("config", SEARCHES, ids=["greedy", "beam", "sample"])
def test_with_all_tokens_listed_the_translations_are_the_same(model, tokenizer, sentences, config) -> None:
    translator = Translator(TorchEngine(model, tokenizer, everything(tokenizer)), tokenizer, config)
    texts = sentences[:30]
    assert translator.translate(texts, replace(config, shortlist=True)) == translator.translate(texts)


@pytest.mark.parametrize("shortlist", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_search_has_the_precision_that_is_asked_for(model, tokenizer, sentences, precision, shortlist) -> None:
    config = DecodingConfig(beam_size=2, shortlist=shortlist)
    translator = Translator(TorchEngine(model, tokenizer, everything(tokenizer)), tokenizer, config)
    other = [each.hypotheses[0] for each in translator.translate(sentences[:20], replace(config, precision=precision))]
    exact = [each.hypotheses[0] for each in translator.translate(sentences[:20])]
    same = [pair for pair in zip(other, exact, strict=True) if pair[0].tokens == pair[1].tokens]
    assert len(same) > 5
    differences = [abs(one.log_prob - two.log_prob) / (len(two.tokens) + 1) for one, two in same]
    assert 0 < max(differences) < 0.1, differences


def test_only_listed_tokens_are_said(model, tokenizer, sentences) -> None:
    lexicon = replace(everything(tokenizer), frequent=np.arange(200, 260, dtype=np.int32))
    config = DecodingConfig(beam_size=3, shortlist=True)
    found = Translator(TorchEngine(model, tokenizer, lexicon), tokenizer, config).translate(sentences[:30])
    said = {token for each in found for hypothesis in each.hypotheses for token in hypothesis.tokens}
    assert said and said <= set(range(200, 260))


def test_special_tokens_are_in_every_shortlist(tokenizer) -> None:
    listed = Shortlist.of(np.array([50, 60]), tokenizer)
    special = [listed.start_id, listed.eos_id, *listed.never_output]
    assert listed.in_vocabulary(special) == (tokenizer.start_id, tokenizer.eos_id, *tokenizer.never_output)
    assert len(listed.tokens) == 2 + len(set(listed.in_vocabulary(special)))


def test_without_a_lexicon_it_is_refused(model, tokenizer) -> None:
    with pytest.raises(DecodingError, match="the run has no lexicon"):
        Translator(model, tokenizer).translate(["a"], DecodingConfig(shortlist=True))
