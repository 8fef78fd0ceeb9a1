"""Verification accepts the same model, and finds what is wrong with another one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, CorpusConfig, DataConfig, DecodingConfig, TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.decoding.engine import TorchEngine
from seq2seq.decoding.scoring import token_log_probs
from seq2seq.decoding.search import Hypothesis
from seq2seq.errors import ExportError
from seq2seq.export.verification import EngineModel, read_sentences, sample_sentences, verify
from seq2seq.model.transformer import Transformer
from tests.random_models import random_model


class Scoring(TorchEngine):
    """Our own engine as if it were another one."""

    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        return [row.tolist() for row in token_log_probs(self.model, self._tokenizer, sources, targets)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    words = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe")
    return train_tokenizer(config, words, words, tmp_path_factory.mktemp("tokenizer") / "t")


@pytest.fixture(scope="module")
def loaded(tokenizer: Tokenizer) -> LoadedRun:
    model = random_model(activation="swiglu")
    return LoadedRun(model, Config(model=model.config, data=DataConfig(max_length=100)), tokenizer, Path("nowhere"))


def other(loaded: LoadedRun, change: Callable[[Transformer], None] = lambda model: None) -> EngineModel:
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        change(model)
    return EngineModel(Scoring(model, loaded.tokenizer), loaded.tokenizer)


def test_the_same_model_passes(loaded: LoadedRun) -> None:
    report = verify(loaded, other(loaded), sample_sentences(loaded))
    assert not report.faults
    tokens, log_probs, greedy, beam = report.rows
    assert tokens.equal == tokens.compared > 50
    assert log_probs.compared > 200, "a long pair is among them"
    for row in (greedy, beam):
        assert row.equal == row.compared > 0
    assert "beam-5 translations" in str(report)


def transpose_a_weight(model: Transformer) -> None:
    weight = model.encoder[1].self_attention.output.weight
    weight.copy_(weight.t().clone())


def shift_the_positions(model: Transformer) -> None:
    model.positions.copy_(model.positions.roll(1, dims=0))


def shift_far_positions_only(model: Transformer) -> None:
    model.positions[150:].copy_(model.positions[150:].roll(1, dims=0))


def swap_a_norms_gains(model: Transformer) -> None:
    weight = model.decoder[0].cross_attention_residual.norm.weight
    weight.copy_(weight.flip(0).clone())


def forget_a_bias(model: Transformer) -> None:
    model.decoder[1].feed_forward.inner.bias.zero_()


@pytest.mark.parametrize(
    "change", [transpose_a_weight, shift_the_positions, shift_far_positions_only, swap_a_norms_gains, forget_a_bias]
)
def test_a_wrong_weight_is_found(change: Callable[[Transformer], None], loaded: LoadedRun) -> None:
    report = verify(loaded, other(loaded, change), sample_sentences(loaded))
    assert any("log-probabilities differ" in fault for fault in report.faults)


def test_weights_that_are_not_numbers_are_found(loaded: LoadedRun) -> None:
    broken = other(loaded)
    broken.log_probs = lambda sources, targets: [[float("nan")] * len(target) for target in targets]  # type: ignore[method-assign]
    assert verify(loaded, broken, sample_sentences(loaded)).faults
    assert verify(loaded, broken, sample_sentences(loaded), quantised=True).faults


def test_another_search_is_found(loaded: LoadedRun) -> None:
    class Worse(EngineModel):
        def search(self, sources, config: DecodingConfig, max_length: int) -> list[list[Hypothesis]]:
            found = super().search(sources, config, max_length)
            return [hypotheses[::-1] for hypotheses in found]

    worse = Worse(Scoring(loaded.model, loaded.tokenizer), loaded.tokenizer)
    faults = verify(loaded, worse, sample_sentences(loaded)).faults
    assert any("beam-5 translations differ, and not for a tie" in fault for fault in faults)
    assert not any("greedy" in fault for fault in faults)


def test_another_tokenizer_is_found(loaded: LoadedRun) -> None:
    class Careless(EngineModel):
        def encode(self, texts: Sequence[str]) -> list[list[int]]:
            return [tokens[:-1] for tokens in super().encode(texts)]

    careless = Careless(Scoring(loaded.model, loaded.tokenizer), loaded.tokenizer)
    (fault,) = verify(loaded, careless, sample_sentences(loaded)).faults
    assert "cut into other tokens" in fault


def test_a_tie_is_no_fault(loaded: LoadedRun) -> None:
    """Two pieces with the same weights are equally good everywhere."""
    twins = copy.deepcopy(loaded.model)
    with torch.no_grad():
        twins.output.weight[41] = twins.output.weight[40] = 1.5 * twins.output.weight[41]
        twins.target_embedding.weight[41] = twins.target_embedding.weight[40]
        twins.source_embedding.weight[41] = twins.source_embedding.weight[40]

    class Other(EngineModel):
        def search(self, sources, config: DecodingConfig, max_length: int) -> list[list[Hypothesis]]:
            swapped = {40: 41, 41: 40}
            return [
                [each._replace(tokens=tuple(swapped.get(token, token) for token in each.tokens)) for each in hypotheses]
                for hypotheses in super().search(sources, config, max_length)
            ]

    same = LoadedRun(twins, loaded.config, loaded.tokenizer, loaded.checkpoint)
    report = verify(same, Other(Scoring(twins, loaded.tokenizer), loaded.tokenizer), sample_sentences(same))
    assert sum(row.ties for row in report.rows) > 0
    assert not report.faults


def test_a_tie_of_two_tokens_is_no_fault_whatever_follows(loaded: LoadedRun) -> None:
    """Greedy search then goes on from another token, to another sentence."""
    ours, theirs = (random_model(activation="swiglu", tied_embeddings="inputs") for _ in range(2))
    with torch.no_grad():
        ours.output.weight[40] *= 1.5
        ours.output.weight[41] = ours.output.weight[40] * (1 + 1e-6)
        theirs.output.weight[[40, 41]] = ours.output.weight[[41, 40]]
    same = LoadedRun(ours, replace(loaded.config, model=ours.config), loaded.tokenizer, loaded.checkpoint)
    report = verify(same, EngineModel(Scoring(theirs, loaded.tokenizer), loaded.tokenizer), sample_sentences(same))
    (greedy,) = [row for row in report.rows if "greedy" in row.what]
    assert greedy.ties > 0
    assert not [fault for fault in report.faults if "greedy" in fault]


def test_a_quantised_model_is_measured_and_a_broken_one_refused(loaded: LoadedRun) -> None:
    def round_weights(model: Transformer) -> None:
        for parameter in model.parameters():
            parameter.copy_((parameter * 64).round() / 64)

    sentences = sample_sentences(loaded)
    report = verify(loaded, other(loaded, round_weights), sentences, quantised=True, references=sentences)
    assert not report.faults
    assert "BLEU against our output" in str(report) and "ours:" in str(report)
    assert verify(loaded, other(loaded, transpose_a_weight), sentences, quantised=True).faults


def test_sentences_come_from_the_validation_corpus_if_it_is_there(loaded: LoadedRun, tmp_path: Path) -> None:
    for side in ("de", "en"):
        (tmp_path / f"v.{side}").write_text("".join(f"{side} {i}\n" for i in range(300)), encoding="utf-8")
    corpus = CorpusConfig(source=str(tmp_path / "v.de"), target=str(tmp_path / "v.en"))
    data = DataConfig(source_language="de", target_language="en", max_length=100, validation=corpus)
    run = loaded._replace(config=Config(model=loaded.model.config, data=data))
    assert sample_sentences(run, 3) == ["de 0", "de 1", "de 2"]
    (tmp_path / "v.de").unlink()
    assert len(sample_sentences(run)) > 50


def test_nothing_to_compare_is_said(loaded: LoadedRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no sentence to compare on"):
        verify(loaded, other(loaded), [" ", "abc " * 300])
    (tmp_path / "empty").write_text("\n \n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"empty: no sentence"):
        read_sentences(tmp_path / "empty")


def test_of_a_model_that_never_ends_the_log_probabilities_are_compared(loaded: LoadedRun) -> None:
    endless = copy.deepcopy(loaded.model)
    with torch.no_grad():
        endless.output.weight[3] = -1000 * endless.decoder_norm.bias
    run = loaded._replace(model=endless)
    report = verify(run, other(run), ["ab"])
    assert not report.faults and "without 1 that our search had to end" in str(report)
    assert verify(run, other(run, transpose_a_weight), ["ab"]).faults
