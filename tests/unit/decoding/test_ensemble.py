"""Ensembles: the mean of probabilities, by hand and as a slow search has it, and models of different sizes."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy_model import END, START, Toy, assert_same, bounds

from seq2seq.checkpoint import checkpoints
from seq2seq.config import DecodingConfig, ModelConfig, TokenizerConfig
from seq2seq.data.lexicon import Lexicon
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.engine import TorchEngine
from seq2seq.decoding.ensemble import EnsembleCache, EnsembleEngine, ensemble
from seq2seq.decoding.loading import load_ensemble
from seq2seq.decoding.sampling import greedy
from seq2seq.decoding.search import hypothesis
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DecodingError
from seq2seq.model.transformer import Transformer

GREEDY = DecodingConfig(beam_size=1)
BEAM = DecodingConfig(beam_size=4, n_best=3, no_repeat_ngram=3)
SAMPLE = DecodingConfig(sample=True, n_best=3, temperature=0.8, top_p=0.95)
SEARCHES = pytest.mark.parametrize("config", [GREEDY, BEAM, SAMPLE], ids=["greedy", "beam", "sample"])


class Mean(Toy):
    """A toy whose log-probabilities are those of several toys together, token by token."""

    def __init__(self, toys: list[Toy]) -> None:
        self.tables = torch.stack([toy.tables for toy in toys]).double().exp().mean(dim=0).log().float()
        self.vocab_size = toys[0].vocab_size


@given(seed=st.integers(0, 10_000), size=st.integers(1, 3))
@example(seed=958, size=2)  # where two translations differ by rounding alone
@settings(max_examples=20)
def test_full_width_beam_is_brute_force_over_mean_probabilities(seed: int, size: int) -> None:
    toys = [Toy(seed + i) for i in range(size)]
    lengths, width = [4, 2, 3, 1, 4, 3], 5**3
    cache = EnsembleCache([toy.cache(range(6), width) for toy in toys])
    step, config = ensemble([toy.step for toy in toys]), DecodingConfig()
    found = beam_search(step, cache, bounds(*lengths), config)
    for sentence, (its_found, longest) in enumerate(zip(found, lengths, strict=True)):
        best = Mean(toys).best(sentence, longest, config)
        of_tokens = {each.tokens: each for each in best}
        assert_same(its_found, [of_tokens[each.tokens] for each in its_found])
        scores = [each.score for each in best[: len(its_found)]]
        assert [each.score for each in its_found] == pytest.approx(scores, abs=1e-5), "no better one is left out"


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_greedy_is_greedy_by_hand(seed: int) -> None:
    toys = [Toy(seed), Toy(seed + 1), Toy(seed + 2)]
    cache = EnsembleCache([toy.cache(range(6)) for toy in toys])
    found = greedy(ensemble([toy.step for toy in toys]), cache, bounds(*[8] * 6), GREEDY)
    for sentence, (one,) in enumerate(found):
        tokens = [START]
        total = 0.0
        caches = [toy.cache([sentence]) for toy in toys]
        while len(tokens) == 1 or (tokens[-1] != END and len(tokens) <= 8):
            latest = torch.tensor(tokens[-1:])
            steps = zip(toys, caches, strict=True)
            probs = sum(toy.step(latest, own)[0].double().exp() for toy, own in steps) / len(toys)
            tokens.append(END if len(tokens) == 8 else int(probs.argmax()))
            total += math.log(probs[tokens[-1]])
        assert_same([one], [hypothesis(tokens[1:-1], total, GREEDY)])


@SEARCHES
def test_a_model_with_itself_is_the_model(model, tokenizer, sentences, config) -> None:
    alone = Translator(model, tokenizer, config).translate(sentences[:40])
    members = [TorchEngine(model, tokenizer) for _ in range(3)]
    together = Translator(EnsembleEngine(members, tokenizer), tokenizer, config).translate(sentences[:40])
    for one, other in zip(alone, together, strict=True):
        assert_same(other.hypotheses, one.hypotheses)
        assert other.n_best == one.n_best


@pytest.fixture
def different(tokenizer) -> list[Transformer]:
    """Random models of different sizes and kinds over one vocabulary."""
    size = tokenizer.target_vocab_size
    models = []
    for seed, (width, layers) in enumerate([(16, 2), (24, 1)]):
        torch.manual_seed(seed)
        config = ModelConfig(
            encoder_layers=1, decoder_layers=layers, d_model=width, d_ff=32, num_heads=2, max_length=64,
            tied_embeddings="none", source_vocab_size=size, target_vocab_size=size,
        )  # fmt: skip
        models.append(Transformer(config).eval())
        with torch.no_grad():
            models[-1].output.weight.mul_(6)  # as sure of itself, and as ready to stop, as a trained one
            models[-1].output.weight[tokenizer.eos_id].mul_(1.5)
    return models


def everything(tokenizer: Tokenizer) -> Lexicon:
    size = tokenizer.target_vocab_size
    return Lexicon(np.full((size, 1), -1, np.int32), np.arange(size, dtype=np.int32))


def test_greedy_is_that_of_full_softmaxes_of_whole_prefixes(different, tokenizer, sentences) -> None:
    engine = EnsembleEngine([TorchEngine(model, tokenizer) for model in different], tokenizer)
    never = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id]
    lengths = set()
    for source, translation in zip(
        tokenizer.encode_source(sentences[:20]), Translator(engine, tokenizer, GREEDY).translate(sentences[:20]),
        strict=True,
    ):  # fmt: skip
        (found,), ids = translation.hypotheses, torch.tensor([source])
        tokens, total = [tokenizer.start_id], 0.0
        while len(tokens) == 1 or tokens[-1] != tokenizer.eos_id:
            prefix = torch.tensor([tokens])
            with torch.no_grad():
                logits = [model(ids, torch.ones_like(ids, dtype=torch.bool), prefix)[0, -1] for model in different]
            probs = torch.stack(logits).softmax(dim=1).mean(dim=0)
            allowed = probs.clone()
            allowed[never] = 0
            tokens.append(tokenizer.eos_id if len(tokens) == min(2 * len(source) + 20, 64) else int(allowed.argmax()))
            total += math.log(probs[tokens[-1]])
        assert_same([found], [hypothesis(tokens[1:-1], total, GREEDY)])
        lengths.add(len(tokens))
    assert len(lengths) > 5, "the test is of all lengths"


@SEARCHES
def test_order_of_members_and_neighbours_do_not_matter(different, tokenizer, sentences, config) -> None:
    members = [TorchEngine(model, tokenizer) for model in different]
    found = Translator(EnsembleEngine(members, tokenizer), tokenizer, config).translate(sentences[:30])
    turned = Translator(EnsembleEngine(members[::-1], tokenizer), tokenizer, replace(config, batch_size=1))
    for one, other in zip(found, turned.translate(sentences[:30]), strict=True):
        assert_same(other.hypotheses, one.hypotheses)


def test_a_shortlist_of_everything_changes_nothing(different, tokenizer, sentences) -> None:
    members = [TorchEngine(model, tokenizer, everything(tokenizer)) for model in different]
    engine = EnsembleEngine(members, tokenizer)
    plain = Translator(engine, tokenizer, BEAM).translate(sentences[:20])
    listed = Translator(engine, tokenizer, replace(BEAM, shortlist=True)).translate(sentences[:20])
    for one, other in zip(plain, listed, strict=True):
        assert_same(other.hypotheses, one.hypotheses)


# --- from runs


def test_checkpoints_of_a_run_translate_together(trained_run, corpus) -> None:
    folders = checkpoints(trained_run)
    texts = (corpus / "test.de").read_text(encoding="utf-8").splitlines()
    alone = [Translator.load(folder, "cpu").translate(texts) for folder in folders]
    together = Translator.load(folders[0], "cpu", ensemble=folders[1:]).translate(texts)
    assert len(together) == len(texts)
    assert all(together != each for each in alone)


def test_what_does_not_fit_is_refused(trained_run, sentences, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained_run, other)
    other_tokenizer = train_tokenizer(TokenizerConfig(vocab_size=320), sentences, sentences, tmp_path / "t")
    shutil.rmtree(other / "tokenizer")
    other_tokenizer.save(other / "tokenizer")
    for path in (other / "checkpoints").glob("*/checkpoint.json"):
        about = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**about, "tokenizer_hash": other_tokenizer.hash}), encoding="utf-8")
    with pytest.raises(DecodingError, match=r"other: its tokenizer is .*`tokenizer\.path`"):
        load_ensemble([trained_run, other], "cpu")
    with pytest.raises(DecodingError, match="an ensemble of 2 runs: the onnx engine cannot"):
        load_ensemble([trained_run, trained_run], "cpu", "onnx")
