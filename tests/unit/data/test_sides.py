"""Sides that are swapped, told by nothing but what most of the corpus has."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import sides as module
from seq2seq.data.corpus import SentencePair
from seq2seq.data.sides import Sides

PAIRS = [
    SentencePair("the file could not be opened", "die Datei konnte nicht geöffnet werden"),
    SentencePair("the network is not available", "das Netz ist nicht verfügbar"),
    SentencePair("open the file of the network", "öffnen Sie die Datei des Netzes"),
    SentencePair("Firefox", "Firefox"),
] * 10
ANY_PAIR = st.builds(SentencePair, st.text(), st.text())


def turned(pair: SentencePair) -> SentencePair:
    return SentencePair(pair.target, pair.source)


def test_most_of_the_corpus_decides() -> None:
    learnt = Sides.learn([*PAIRS, *map(turned, PAIRS[:8])])
    for pair in PAIRS[:3]:
        assert not learnt.are_swapped(pair)
        assert learnt.are_swapped(turned(pair))


@pytest.mark.parametrize("tags", [("<2de>", "<2en>"), (">>deu<<", ">>eng<<")])
def test_directions_are_told_by_the_tags_in_their_text(tags: tuple[str, str]) -> None:
    def tagged(tag: str, pair: SentencePair) -> SentencePair:
        return SentencePair(f"{tag} {pair.source}", pair.target)

    forth = [tagged(tags[0], pair) for pair in PAIRS * 9]
    back = [tagged(tags[1], turned(pair)) for pair in PAIRS]
    learnt = Sides.learn([*forth, *back])
    assert not any(map(learnt.are_swapped, [*forth, *back]))
    assert learnt.are_swapped(tagged(tags[0], turned(PAIRS[0]))) and learnt.are_swapped(tagged(tags[1], PAIRS[0]))
    assert not learnt.are_swapped(tagged("<2fr>", PAIRS[0])), "nothing is known of it"


def test_words_in_angle_brackets_are_words_where_most_texts_begin_with_none() -> None:
    learnt = Sides.learn([*PAIRS, SentencePair("<b> the file", "<b> die Datei")])
    assert learnt.are_swapped(SentencePair("<b> die Datei", "<b> the file"))


def test_new_words_are_told_by_their_parts() -> None:
    learnt = Sides.learn(PAIRS)
    assert learnt.are_swapped(SentencePair("Netzdatei verfügbare", "networking filed"))


def test_words_within_code_tell_where_there_are_no_others() -> None:
    learnt = Sides.learn(PAIRS)
    assert learnt.are_swapped(SentencePair("--open=DATEI", "--open=FILE"))
    assert not learnt.are_swapped(SentencePair("--open=FILE", "--open=DATEI"))
    assert not learnt.are_swapped(SentencePair("sd_bus_network", "sd_bus_file"))  # both of one side


@pytest.mark.parametrize(
    "pair", [("Firefox", "Firefox"), ("/die/Datei", "/das/Netz"), ("file(2)", "file(3)"), ("x", "y"), ("", "")]
)
def test_names_and_code_are_of_no_side(pair: tuple[str, str]) -> None:
    learnt = Sides.learn(PAIRS)
    assert not learnt.are_swapped(SentencePair(*pair))
    assert not learnt.are_swapped(SentencePair(*reversed(pair)))


@given(pairs=st.lists(ANY_PAIR), asked=ANY_PAIR)
def test_a_pair_is_never_swapped_both_ways(pairs: list[SentencePair], asked: SentencePair) -> None:
    learnt = Sides.learn([*PAIRS, *pairs])
    assert not (learnt.are_swapped(asked) and learnt.are_swapped(turned(asked)))


def test_it_learns_from_a_sample_that_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAMPLE", 30)
    generator = random.Random(1)
    pairs = [SentencePair(str(i), generator.choice("abc") * 4) for i in range(500)]
    drawn = module._sample(iter(pairs))
    assert drawn == module._sample(pairs)
    assert len(set(drawn)) == 30
    assert max(int(pair.source) for pair in drawn) > 250
