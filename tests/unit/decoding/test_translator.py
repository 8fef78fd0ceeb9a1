"""Text in, text out: order, independence of batches, lengths, long and blank sentences, streams."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, DataConfig, DecodingConfig, TokenizerConfig
from seq2seq.data.tokenizer import train_tokenizer
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.loading import LoadedEngine
from seq2seq.decoding.search import Hypothesis
from seq2seq.decoding.splitting import join_texts, split_text
from seq2seq.decoding.translator import Translation, Translator, _lengths
from seq2seq.errors import DecodingError, TokenizerError

GREEDY = DecodingConfig(beam_size=1)
BEAM = DecodingConfig(beam_size=4, n_best=3)
# Rounding, which differs between sizes of batches, decides one draw among thousands; with this seed it decides none.
SAMPLE = DecodingConfig(sample=True, n_best=2, temperature=1.5, seed=2)
SEARCHES = pytest.mark.parametrize("config", [GREEDY, BEAM, SAMPLE], ids=["greedy", "beam", "sample"])


@pytest.fixture
def translator(model, tokenizer) -> Translator:
    return Translator(model, tokenizer, GREEDY)


def assert_alike(found: list[Translation], expected: list[Translation]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.source, one.text, one.n_best) == (other.source, other.text, other.n_best)
        assert [h.tokens for h in one.hypotheses] == [h.tokens for h in other.hypotheses]
        for a, b in zip(one.hypotheses, other.hypotheses, strict=True):
            assert (a.log_prob, a.score) == pytest.approx((b.log_prob, b.score), rel=1e-4, abs=1e-4)


@SEARCHES
def test_batches_and_neighbours_do_not_matter(translator, sentences, config) -> None:
    texts = sentences[:40]
    alone = translator.translate(texts, replace(config, batch_size=1))
    assert_alike(translator.translate(texts, replace(config, batch_size=64)), alone)
    assert_alike(translator.translate(texts, replace(config, batch_tokens=100)), alone)
    assert len({len(each.hypotheses[0].tokens) for each in alone}) > 5, "the test is of all lengths"
    assert [each.source for each in alone] == texts
    assert all(len(each.n_best) == len(each.hypotheses) == config.n_best for each in alone)
    assert all(each.text == each.n_best[0] for each in alone)


@pytest.mark.parametrize("config", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_order_of_sentences_does_not_matter(translator, sentences, config) -> None:
    texts = sentences[:40]
    forwards = translator.translate(texts, config)
    assert_alike(translator.translate(texts[::-1], config), forwards[::-1])


def test_a_beam_of_one_is_greedy_by_hand(translator, model, tokenizer, sentences) -> None:
    source = torch.tensor(tokenizer.encode_source(sentences[:1]))
    tokens = [tokenizer.bos_id]
    forbidden = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id]
    with torch.no_grad():
        greatest = min(2 * source.size(1) + 20, model.config.max_length)  # tokens with the end
        while tokens[-1] != tokenizer.eos_id and len(tokens) < greatest:
            logits = model(source, torch.ones_like(source, dtype=torch.bool), torch.tensor([tokens]))[0, -1]
            logits[forbidden] = -torch.inf
            tokens.append(int(logits.argmax()))
    (found,) = translator.translate(sentences[:1])
    expected = [token for token in tokens[1:] if token != tokenizer.eos_id]
    assert list(found.hypotheses[0].tokens) == expected != []
    assert found.text == tokenizer.decode_target(found.hypotheses[0].tokens)


def test_samples_depend_on_the_seed_and_the_place(translator, sentences) -> None:
    def texts(config: DecodingConfig, sources: list[str]) -> list[tuple[str, ...]]:
        return [each.n_best for each in translator.translate(sources, config)]

    assert texts(SAMPLE, sentences[:10]) == texts(SAMPLE, sentences[:10])
    assert texts(SAMPLE, sentences[:10]) != texts(replace(SAMPLE, seed=-2), sentences[:10])
    same = texts(SAMPLE, ["abc def"] * 10)
    assert len(set(itertools.chain(*same))) > 10, "each is drawn anew"


# --- lengths


@given(st.integers(1, 3000), st.floats(0, 4), st.floats(0, 4), st.integers(0, 30), st.integers(1, 200))
def test_lengths_are_within_each_other_and_the_model(
    source: int, one: float, other: float, offset: int, limit: int
) -> None:
    low, high = sorted([one, other])
    config = DecodingConfig(min_length_ratio=low, max_length_ratio=high, max_length_offset=offset)
    least, greatest = _lengths(source, limit, config)
    assert 1 <= least <= greatest <= limit
    assert greatest <= max(1, high * source + offset + 1e-3)
    assert greatest == limit or greatest >= high * source + offset - 1
    assert least == greatest or least >= low * source - 1e-3


def test_rounding_costs_no_token() -> None:
    config = DecodingConfig(min_length_ratio=2.3, max_length_ratio=2.3, max_length_offset=0)
    assert _lengths(10, 1000, config) == (23, 23)
    assert _lengths(10, 1000, replace(config, max_length_ratio=math.inf)) == (23, 1000)


@SEARCHES
def test_outputs_keep_their_lengths(translator, tokenizer, sentences, config) -> None:
    config = replace(config, min_length_ratio=0.9, max_length_ratio=1.1, max_length_offset=0)
    sources = tokenizer.encode_source(sentences[:40])
    for source, translation in zip(sources, translator.translate(sentences[:40], config), strict=True):
        for each in translation.hypotheses:
            assert 0.9 * len(source) - 1 <= len(each.tokens) + 1 <= 1.1 * len(source)


@SEARCHES
def test_no_ngram_is_said_twice(translator, sentences, config) -> None:
    config = replace(config, no_repeat_ngram=2)
    for translation in translator.translate(sentences[:40], config):
        for each in translation.hypotheses:
            pairs = list(itertools.pairwise(each.tokens))
            assert len(pairs) == len(set(pairs))


# --- odd input


def test_blank_sentences_need_no_model(translator, monkeypatch) -> None:
    monkeypatch.setattr(type(translator.engine), "search", None)
    blank = ["", " ", "\t", "\x85", "\u2028 "]
    assert translator.translate(blank) == [Translation(text, "") for text in blank]
    assert translator.translate([]) == []


def test_one_translation_for_each_sentence_whatever_is_in_it(translator) -> None:
    odd = [
        "a",
        "",
        "\x85b",
        "c\u2028d",
        "e\rf\x0bg\x0ch",
        "\ufeff",
        "\u200b",
        "あ 😀 \x00",
        "a\nb",
        "</s><pad>",
        "<0x0A>",
    ]
    found = translator.translate(odd)
    assert [each.source for each in found] == odd
    assert all("\n" not in each.text for each in found)


def test_a_single_text_is_refused(translator) -> None:
    with pytest.raises(DecodingError, match=r"give a list of sentences"):
        translator.translate("one sentence")


@SEARCHES
def test_long_sentences_are_split_and_joined(translator, tokenizer, sentences, config, caplog) -> None:
    long = ". ".join(sentences[:30]) + "."
    assert len(tokenizer.encode_source([long])[0]) > 2 * 64
    found = translator.translate([sentences[0], long, "", long, sentences[1]], config)
    assert [each.source for each in found] == [sentences[0], long, "", long, sentences[1]]
    (warning,) = caplog.messages
    assert warning.startswith("sentence 2 has ") and "(and 1 more" in warning and "takes 64" in warning
    for each in (found[1], found[3]):
        assert len(each.hypotheses) == len(each.n_best) == config.n_best
        assert list(each.hypotheses) == sorted(each.hypotheses, key=lambda h: -h.score)
        assert each.text == each.n_best[0]
    if not config.sample:
        assert found[1] == found[3]
        assert_alike([found[0], found[4]], translator.translate(sentences[:2], config))


class Splitting:
    """Finds two translations of each part of a text; those of the second rank are better as a whole, being longer."""

    max_length, workers, in_processes = 64, 1, False

    def check(self, config: DecodingConfig) -> None:
        pass

    def prepare(self, config: DecodingConfig) -> None:
        pass

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        of_parts = {0: ((-0.5, 5), (-2.2, 20)), 1: ((-20.0, 10), (-20.1, 10))}
        return [
            [
                Hypothesis((300 + rank,) * (length - 1), log_prob, log_prob / length)
                for rank, (log_prob, length) in enumerate(of_parts[task.seed[2] % 2])
            ][: config.n_best]
            for task in tasks
        ]


def test_the_best_of_a_split_text_is_the_same_in_a_longer_list(tokenizer, sentences) -> None:
    translator, text = Translator(Splitting(), tokenizer), ". ".join(sentences[:12])
    one, several = (translator.translate([text], replace(BEAM, n_best=number))[0] for number in (1, 2))
    assert one.text == several.text == several.n_best[0]
    first, second = several.hypotheses
    assert one.hypotheses == (first,) and second.score > first.score


def test_parts_are_translated_as_sentences_are(translator, tokenizer, sentences) -> None:
    long = ". ".join(sentences[:30]) + "."
    parts = split_text(long, lambda part: len(tokenizer.encode_source([part])[0]) <= 64)
    assert len(parts) > 2
    singly = translator.translate(parts)
    (joined,) = translator.translate([long])
    assert joined.text == join_texts([each.text for each in singly])
    assert joined.hypotheses[0].log_prob == pytest.approx(sum(each.hypotheses[0].log_prob for each in singly), abs=1e-3)


def test_long_sentences_are_refused_on_demand(translator, sentences) -> None:
    config = replace(GREEDY, too_long="refuse")
    with pytest.raises(DecodingError, match=r"sentence 2 has \d+ tokens: the model takes 64 .*'split'"):
        translator.translate([sentences[0], " ".join(sentences[:30])], config)


def test_what_is_longer_than_training_text_is_split(model, tokenizer, sentences, caplog) -> None:
    long = ". ".join(sentences[:6]) + "."
    length = len(tokenizer.encode_source([long])[0])
    config = Config(data=DataConfig(max_length=length - 1), model=replace(model.config, max_length=64))
    assert length <= 64
    translator = Translator.of(LoadedEngine(TorchEngine(model, tokenizer), tokenizer, config), GREEDY)
    parts = split_text(long, lambda part: len(tokenizer.encode_source([part])[0]) < length)
    assert len(parts) > 1
    joined, one = translator.translate([long, "😀"])
    assert joined.text == join_texts([each.text for each in translator.translate(parts)])
    (warning,) = caplog.messages
    assert warning == (
        f"sentence 1 has {length} tokens: the model was trained on at most {length - 1} (`data.max_length`); "
        "translated in parts"
    )
    # A character that has more tokens than that cannot be split, and the model takes it.
    short = Translator(model, tokenizer, GREEDY, longest=2)
    assert_alike(short.translate(["😀"]), [one])


def test_a_character_too_long_for_the_model_is_named(model, tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(model, "config", replace(model.config, max_length=3))
    with pytest.raises(DecodingError, match=r"sentence 1: the character '😀' alone has \d tokens: the model takes 3"):
        Translator(model, tokenizer, GREEDY).translate(["😀😀"])


def test_a_diverged_model_is_an_error(model, tokenizer, sentences) -> None:
    broken = copy.deepcopy(model)
    broken.output.weight.data[7, 3] = torch.nan
    for config in (GREEDY, BEAM, SAMPLE):
        with pytest.raises(DecodingError, match="training diverged"):
            Translator(broken, tokenizer, config).translate(sentences[:2])


# --- progress and streams


def test_progress_counts_every_sentence_once(translator, sentences) -> None:
    texts = [*sentences[:10], "", ". ".join(sentences[:30]), "", *sentences[10:20]]
    done: list[int] = []
    translator.translate(texts, replace(GREEDY, batch_size=3), done.append)
    assert sum(done) == len(texts) and min(done) >= 0
    assert len(done) > 3


@SEARCHES
def test_a_stream_gives_what_a_list_gives(translator, sentences, config) -> None:
    texts = [*sentences[:30], "", ". ".join(sentences[:30]), *sentences[30:40]]
    config = replace(config, batch_size=2)
    assert_alike(list(translator.stream(iter(texts), config)), translator.translate(texts, config))


def test_a_stream_answers_before_more_input_arrives(translator, sentences) -> None:
    answers: list[Translation] = []

    def dialogue() -> Iterator[str]:
        for number, text in enumerate(sentences[:3]):
            yield text
            for _ in range(1000):
                if len(answers) > number:
                    break
                time.sleep(0.01)
            assert len(answers) == number + 1

    for answer in translator.stream(dialogue()):
        answers.append(answer)
    assert [each.source for each in answers] == sentences[:3]


def test_a_stream_without_end_can_be_left(translator, sentences) -> None:
    config = replace(GREEDY, batch_size=1)
    stream = translator.stream(itertools.cycle(sentences), config)
    assert [each.source for each in itertools.islice(stream, 3)] == sentences[:3]
    stream.close()


def test_errors_of_the_input_come_through(translator, sentences) -> None:
    def broken() -> Iterator[str]:
        yield from sentences[:3]
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for each in translator.stream(broken()):
            seen.append(each.source)
    assert seen == sentences[:3]


def test_dropout_is_off(model, tokenizer) -> None:
    made = Translator(copy.deepcopy(model).train(), tokenizer)
    assert not any(module.training for module in made.engine.model.modules())


# --- tags


@SEARCHES
def test_a_tag_is_put_before_every_text_and_every_part_of_one(translator, tokenizer, sentences, config) -> None:
    tag = next(piece[1:] for piece in tokenizer.source.tokens(range(300, 340)) if len(piece) > 2 and piece[0] == "▁")
    texts = [*sentences[:20], "", "  "]
    found = translator.translate(texts, replace(config, tag=tag))
    typed = translator.translate([f"{tag} {text}" if text.strip() else "" for text in texts], config)
    assert [each.source for each in found] == texts
    assert [each.n_best for each in found] == [each.n_best for each in typed]
    long = " ".join(sentences)
    parts = translator._parts([long], 0, replace(config, tag=tag))
    begin = tokenizer.encode_source([tag])[0][:-1]
    assert len(parts) > 5
    assert all(part.tokens[: len(begin)] == begin and len(part.tokens) <= 64 for part in parts)


def test_the_language_that_a_text_begins_with_is_that_of_each_part(translator, sentences, tmp_path) -> None:
    settings = TokenizerConfig(vocab_size=320, user_symbols=("<2de>", ">>deu<<", "<b>"))
    tokenizer = train_tokenizer(settings, sentences, sentences, tmp_path / "tokenizer")
    translator = Translator(translator.engine, tokenizer)
    for tag in ("<2de>", ">>deu<<"):
        begin = tokenizer.encode_source([tag])[0][:-1]
        parts = translator._parts([f"{tag} {' '.join(sentences)}"], 0, GREEDY)
        assert len(parts) > 5 and all(part.tokens[: len(begin)] == begin for part in parts)
        if tag == ">>deu<<":  # after which Marian's tokenizer needs no space
            assert [part.tokens for part in translator._parts([f"{tag}{' '.join(sentences)}"], 0, GREEDY)] == [
                part.tokens for part in parts
            ]
    for word in ("<2024-01-01>", ">>Nein<<", "<b>"):  # which are no languages that it knows
        parts = translator._parts([f"{word} {' '.join(sentences)}"], 0, GREEDY)
        assert [word in part.text for part in parts] == [True, *(False for _ in parts[1:])]


def test_a_tag_that_would_be_split_is_refused(translator) -> None:
    with pytest.raises(TokenizerError, match="tag '<2fr>': is no piece of the vocabulary"):
        translator.translate(["a"], replace(GREEDY, tag="<2fr>"))
