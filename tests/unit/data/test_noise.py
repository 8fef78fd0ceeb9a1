"""Noise: what it may do to a text and what not, whatever the text; and what each kind does to some."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import NoiseConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.data.noise import (
    lower_case,
    noisy,
    title_case,
    upper_case,
    with_typos,
    without_final_punctuation,
    without_punctuation,
)
from seq2seq.errors import ConfigError
from seq2seq.settings import declared

KINDS = tuple(declared(NoiseConfig))
CASES = ("upper_case", "title_case", "lower_case")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1).filter(lambda text: text.strip())
PAIR = st.builds(SentencePair, TEXT, TEXT)
RATES = st.sampled_from([0.0, 0.3, 1.0])
ORDINARY = SentencePair("Open the File, please.", "Bitte öffnen Sie die Datei.")


@st.composite
def configs(draw: st.DrawFn) -> NoiseConfig:
    rates = {kind: draw(RATES) for kind in KINDS if kind not in CASES}
    return NoiseConfig(**rates, **{draw(st.sampled_from(CASES)): draw(RATES)})


@given(pair=PAIR, config=configs(), seed=st.integers(0, 2**32), epoch=st.integers(0, 99), number=st.integers(0, 10**9))
def test_sides_are_never_empty_and_on_one_line_and_the_same_again(
    pair: SentencePair, config: NoiseConfig, seed: int, epoch: int, number: int
) -> None:
    found = noisy(pair, config, seed, epoch, number)
    assert all(side.strip() and "\n" not in side for side in found)
    assert noisy(pair, config, seed, epoch, number) == found
    if config == NoiseConfig():
        assert found == pair


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_of_1_always_changes_and_of_0_never(kind: str) -> None:
    for number in range(50):
        found = noisy(ORDINARY, NoiseConfig(**{kind: 1.0}), 1, 2, number)
        assert found.source != ORDINARY.source
        changes_both = kind in ("upper_case", "no_final_punctuation", "emoji")
        assert (found.target != ORDINARY.target) == changes_both
        assert noisy(ORDINARY, replace(NoiseConfig(), **{kind: 0.0}), 1, 2, number) == ORDINARY


LETTERS = st.characters(categories=["Lu", "Ll", "Lo"], codec="utf-8")


@given(word=st.text(LETTERS, min_size=2), seed=st.integers(0, 2**32))
def test_a_typo_changes_every_word_of_two_letters(word: str, seed: int) -> None:
    found = with_typos(word, 1.0, np.random.default_rng(seed))
    camel = any("a" <= one <= "z" and "A" <= two <= "Z" for one, two in pairwise(word))
    assert (found != word) != camel
    assert abs(len(found) - len(word)) <= 1


def test_noise_differs_between_epochs_and_pairs_and_seeds() -> None:
    config = NoiseConfig(typos=0.5, emoji=0.5, lower_case=0.5)
    places = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    pair = SentencePair(" ".join(["word"] * 30), "Wort")
    assert len({noisy(pair, config, *place) for place in places}) == len(places)


def test_rates_are_shares() -> None:
    config = NoiseConfig(upper_case=0.3, lower_case=0.2, typos=0.0)
    found = [noisy(ORDINARY, config, 1, 0, number).source for number in range(3000)]
    shares = [found.count(change(ORDINARY.source)) / len(found) for change in (upper_case, lower_case)]
    assert shares == pytest.approx([0.3, 0.2], abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_stays_what_it_is_and_where_it_is(kind: str) -> None:
    config = NoiseConfig(**{kind: 1.0})
    tagged = SentencePair(f"<2de> <bt> {ORDINARY.source}", ORDINARY.target)
    of_marian = SentencePair(f">>fra<< {ORDINARY.source}", ORDINARY.target)
    for number in range(20):
        plain = noisy(ORDINARY, config, 1, 0, number)
        found = noisy(tagged, config, 1, 0, number, tags=("<bt>", "<2de>"))
        assert found == SentencePair(f"<2de> <bt> {plain.source}", plain.target)
        assert noisy(of_marian, config, 1, 0, number).source == f">>fra<< {plain.source}"


@pytest.mark.parametrize("kind", ["typos", *CASES])
def test_code_keeps_its_form(kind: str) -> None:
    pair = SentencePair("{name} /etc/Fstab sd_bus_New() NoPage =SUM(A1)", "<b> x_y")
    assert noisy(pair, NoiseConfig(**{kind: 1.0}), 1, 0, 0) == pair


def test_what_each_does() -> None:
    assert upper_case("„Größe“ of {name}, naïve-ish") == "„GRÖSSE“ OF {name}, NAÏVE-ISH"
    assert lower_case("„Größe“ of {Name}  I") == "„größe“ of {Name}  i"
    assert title_case("don't turn (off) the iPod") == "Don't Turn (Off) The iPod"
    assert [without_final_punctuation(text) for text in ("Is it? ", "foo().", "Ja…", "...", "今日は。")] == [
        "Is it", "foo()", "Ja", "...", "今日は",
    ]  # fmt: skip
    assert without_punctuation("“Well,” he said: don't – see /etc/fstab, (e-mail)!") == (
        "Well he said don't see /etc/fstab, e-mail"
    )
    assert without_punctuation("?!") == "?!"


def test_too_many_cases_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"over 1 together"):
        NoiseConfig(upper_case=0.6, lower_case=0.6)
    with pytest.raises(ConfigError, match=r"`noise\.typos` = 2: must be from 0 to 1"):
        NoiseConfig(typos=2)
