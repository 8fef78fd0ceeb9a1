"""CTranslate2 computes and finds the same as we do, for models of all kinds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.config import DecodingConfig, TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.scoring import score_tokens, token_log_probs
from seq2seq.errors import DecodingError
from tests.random_models import random_model

pytest.importorskip("ctranslate2")
from seq2seq.decoding.ctranslate2 import Ctranslate2Engine, convert

SENTENCES = 60
ACTIVATIONS = ("relu", "gelu", "silu", "reglu", "geglu", "swiglu")
KINDS = [
    {"norm": norm, "activation": activation, "tied_embeddings": tied, "output_bias": tied == "inputs"}
    for norm in ("pre", "post")
    for number, activation in enumerate(ACTIVATIONS)
    for tied in (("none", "all") if number % 2 else ("decoder", "inputs"))
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """One of 80 pieces; the models know no text, so any will do."""
    words = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe")
    return train_tokenizer(config, words, words, tmp_path_factory.mktemp("tokenizer") / "t")


def random_sources(number: int = SENTENCES) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, 16, (number,), generator=generator).tolist()
    return [[*torch.randint(4, 80, (length,), generator=generator).tolist(), 3] for length in lengths]


def engines(kind: dict[str, object], tokenizer: Tokenizer, folder: Path) -> tuple[TorchEngine, Ctranslate2Engine]:
    model = random_model(**kind)
    convert(model, tokenizer, folder)
    return TorchEngine(model, tokenizer), Ctranslate2Engine(folder, tokenizer, 200, "cpu")


def compare(kind: dict[str, object], tokenizer: Tokenizer, folder: Path, number: int, config: DecodingConfig) -> dict:
    """How many best translations are different, how many of these are ties, and the largest difference of scores.

    Without those whose search came to the greatest length, where CTranslate2 cuts hypotheses off in another way.
    """
    ours, theirs = engines(kind, tokenizer, folder)
    sources = random_sources(number)
    tasks = [Task(source, 1, 150, ()) for source in sources]
    found = zip(tasks, ours.search(tasks, config), theirs.search(tasks, config), strict=True)
    ended = [
        (task, mine[0], other[0])
        for task, mine, other in found
        if all(len(each.tokens) + 2 < task.greatest for each in (*mine, *other))
    ]
    different = [(task, mine, other) for task, mine, other in ended if mine.tokens != other.tokens]
    targets = [[*other.tokens, 3] for _, _, other in different]
    rescored = score_tokens(ours.model, tokenizer, [task.tokens for task, _, _ in different], targets)
    mine_scored = zip((mine for _, mine, _ in different), rescored, strict=True)
    return {
        "compared": len(ended),
        "distinct": len({mine.tokens for _, mine, _ in ended}),
        "different": len(different),
        "ties": sum(abs(log_prob - mine.log_prob) < 1e-3 for mine, log_prob in mine_scored),
        "score": max(abs(mine.score - other.score) for _, mine, other in ended if mine.tokens == other.tokens),
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_beam_search_finds_the_same(kind: dict[str, object], tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = compare(kind, tokenizer, tmp_path, SENTENCES, DecodingConfig(beam_size=5))
    assert found["distinct"] > 3, "or there is little to compare"
    assert found["different"] <= found["ties"]
    assert found["score"] < 1e-3


@pytest.mark.parametrize(
    "change",
    [{"beam_size": 1}, {"patience": 2.0}, {"patience": 1.125}, {"length_penalty": 0.0}, {"length_penalty": 2.0}],
    ids=str,
)
def test_settings_mean_the_same(change: dict[str, object], tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = replace(DecodingConfig(beam_size=4), **change)
    found = compare({"norm": "pre", "activation": "swiglu"}, tokenizer, tmp_path, SENTENCES, config)
    assert found["different"] <= found["ties"]
    assert found["score"] < 1e-3


def test_where_its_search_is_another_one_the_scores_are_the_models(tokenizer: Tokenizer, tmp_path: Path) -> None:
    ours, theirs = engines({"activation": "swiglu"}, tokenizer, tmp_path)
    tasks = [Task(source, 1, 30, ()) for source in random_sources()]
    drawn = DecodingConfig(sample=True, n_best=3, top_k=20, temperature=0.7)
    for config in (DecodingConfig(beam_size=4, no_repeat_ngram=2), drawn):
        theirs.check(config)
        for task, hypotheses in zip(tasks, theirs.search(tasks, config), strict=True):
            targets = [[*each.tokens, 3] for each in hypotheses]
            scored = score_tokens(ours.model, tokenizer, [task.tokens] * len(targets), targets)
            assert [each.log_prob for each in hypotheses] == pytest.approx(scored, abs=1e-3)
            assert hypotheses == sorted(hypotheses, key=lambda each: -each.score)
            if config.no_repeat_ngram:
                for target in targets:
                    assert len(set(itertools.pairwise(target))) == len(target) - 1


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(length_penalty_form="gnmt"), DecodingConfig(min_length_ratio=0.5),
        DecodingConfig(precision="int8"), DecodingConfig(shortlist=True), DecodingConfig(patience=0.5),
        DecodingConfig(sample=True, top_k=1, n_best=2),
    ],
)
def test_what_it_cannot_is_refused_by_name(config: DecodingConfig, tokenizer: Tokenizer, tmp_path: Path) -> None:
    _, theirs = engines(KINDS[0], tokenizer, tmp_path)
    names = "length_penalty_form|min_length_ratio|precision|shortlist|patience|top_k"
    with pytest.raises(DecodingError, match=rf"`decoding\.({names})` = .* --engine torch"):
        theirs.check(config)


def test_more_tokens_than_there_are_may_be_drawn_from(tokenizer: Tokenizer, tmp_path: Path) -> None:
    _, theirs = engines(KINDS[0], tokenizer, tmp_path)
    tasks = [Task(source, 1, 20, (1, 1)) for source in random_sources(1)]
    assert theirs.search(tasks, DecodingConfig(sample=True, top_k=10**6))[0][0].tokens


def test_conversion_leaves_the_model_as_it_is(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """CTranslate2 quantises in place."""
    model = random_model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    convert(model, tokenizer, tmp_path, "int8")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=str)
def test_log_probabilities_are_the_same(kind: dict[str, object], tokenizer: Tokenizer, tmp_path: Path) -> None:
    ours, theirs = engines(kind, tokenizer, tmp_path)
    sources = random_sources()
    targets = sources[::-1]
    expected = token_log_probs(ours.model, tokenizer, sources, targets)
    for mine, other in zip(expected, theirs.log_probs(sources, targets), strict=True):
        assert mine.tolist() == pytest.approx(other, abs=1e-3)


def test_each_translation_has_its_own_greatest_length(tokenizer: Tokenizer, tmp_path: Path) -> None:
    _, theirs = engines(KINDS[0], tokenizer, tmp_path)
    tasks = [Task(source, 1, 1 + i % 9, ()) for i, source in enumerate(random_sources())]
    for task, hypotheses in zip(tasks, theirs.search(tasks, DecodingConfig(beam_size=3)), strict=True):
        assert all(len(each.tokens) + 1 <= max(task.greatest, 2) for each in hypotheses)


def test_no_search_lets_forbidden_tokens_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Also not the one for another greatest length, of what was found without such tokens."""
    model, never = random_model(**KINDS[0]), sorted(tokenizer.never_output)
    with torch.no_grad():
        model.output.weight[never] *= 2
    convert(model, tokenizer, tmp_path)
    theirs = Ctranslate2Engine(tmp_path, tokenizer, 200, "cpu")
    tasks = [Task(source, 1, 2 + i % 9, ()) for i, source in enumerate(random_sources())]
    for hypotheses in theirs.search(tasks, DecodingConfig(beam_size=5, n_best=5)):
        assert all(set(never).isdisjoint(each.tokens) for each in hypotheses)


def test_separate_vocabularies(tmp_path: Path) -> None:
    words = [f"{first}{second}" for first in "abcdefgh" for second in "hijklmn"]
    config = TokenizerConfig(vocab_size=40, joint=False, byte_fallback=False, algorithm="bpe")
    tokenizer = train_tokenizer(config, words, [word.upper() for word in words], tmp_path / "tokenizer")
    kind = {"tied_embeddings": "decoder", "source_vocab_size": 40, "target_vocab_size": 40}
    model = random_model(**kind)
    (tmp_path / "model").mkdir()
    convert(model, tokenizer, tmp_path / "model")
    theirs = Ctranslate2Engine(tmp_path / "model", tokenizer, 200, "cpu")
    sources = tokenizer.encode_source([f"{a} {b}" for a, b in zip(words, words[7:], strict=False)])
    tasks = [Task(source, 1, 30, ()) for source in sources]
    pairs = zip(
        *(engine.search(tasks, DecodingConfig(beam_size=2)) for engine in (TorchEngine(model, tokenizer), theirs)),
        strict=True,
    )
    ended = [(mine[0].tokens, other[0].tokens) for mine, other in pairs if len(mine[0].tokens) < 29]
    assert len(ended) > 5 and all(mine == other for mine, other in ended)
