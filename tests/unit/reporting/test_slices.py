from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st
from strict_html import Page, text_of

from seq2seq.evaluation import validation_score
from seq2seq.reporting.slices import Frequencies, Slice, count_words, slices, slices_table, words_in
from seq2seq.reporting.systems import System

TRAINING = ["the dog sleeps", "The dog, the dog!", "a cat"] * 4


def frequencies(texts: list[str], is_training: bool = True) -> Frequencies:
    wanted = set().union(*map(words_in, texts))
    return Frequencies(count_words(wanted, TRAINING if is_training else texts), "some text", is_training)


@given(st.lists(st.text(st.sampled_from("ab A1.漢 "), max_size=20), min_size=1, max_size=30), st.booleans())
def test_each_kind_takes_in_every_sentence_once(texts: list[str], is_training: bool) -> None:
    kinds = defaultdict(list)
    for part in slices(texts, frequencies(texts, is_training)):
        assert part.places
        kinds[part.kind] += part.places
    assert len(kinds) == 4
    for places in kinds.values():
        assert sorted(places) == list(range(len(texts)))


def labels(texts: list[str], kind: str, is_training: bool = True) -> dict[str, list[int]]:
    found = slices(texts, frequencies(texts, is_training))
    return {part.label: list(part.places) for part in found if kind in part.kind}


def test_words_are_counted_in_lower_case_without_punctuation() -> None:
    assert count_words({"dog", "the", "zebra"}, TRAINING) == Counter({"dog": 12, "the": 12, "zebra": 0})
    assert words_in("Don't stop 3 TIMES!") == {"don", "t", "stop", "times"}


def test_the_rarest_word_decides() -> None:
    texts = ["the dog", "the cat", "the zebra", "Zebra 3", "123"]
    assert labels(texts, "Rarest") == {"never": [2, 3], "1 to 9 times": [1], "10 to 99 times": [0], "no words": [4]}
    assert labels(["a b", "a a", "b c"], "Rarest", is_training=False) == {"once": [2], "2 to 4 times": [0, 1]}


def test_numbers_and_capitals() -> None:
    texts = ["Das Haus", "Haus", "haus Nr 3", "3 Hunde", "MIT"]
    assert labels(texts, "Numbers") == {"with a digit": [2, 3], "without digits": [0, 1, 4]}
    assert labels(["我们一起去吧。", "第３章"], "Numbers") == {"with a digit": [1], "without digits": [0]}
    assert labels(texts, "Capitals") == {"after the first letter": [0, 2, 4], "none but the first letter": [1, 3]}


def test_lengths_fall_into_parts_of_about_equal_size() -> None:
    texts = [" ".join("w" * (1 + i % 20)) for i in range(200)]
    found = labels(texts, "Length in words")
    assert [len(places) for places in found.values()] == [50, 50, 50, 50]
    assert list(found) == ["1 to 5 words", "6 to 10 words", "11 to 15 words", "16 words and more"]
    assert list(labels(["漢字", "漢字漢字"], "Length")) == ["2 to 3 characters", "4 characters and more"]


def test_the_table_has_the_scores_and_counts_of_each_part() -> None:
    reference = [f"sentence number {i} is here <b>" for i in range(120)]
    systems = [System("<one>", reference, 0, ""), System("two", ["sentence"] * 120, 1, "")]
    parts = [Slice("Length", "short & sweet", range(110)), Slice("Length", "long", range(110, 120))]
    html = slices_table(parts, systems, reference, "en")
    page = Page(html)
    text = text_of(html)
    assert "<one>" in text and "short & sweet" in text
    assert page.count("tr", "few") == 1 and page.count("tr", "group") == 1
    assert page.count("div", "bar") == 8
    for part in parts:
        some = [reference[i] for i in part.places]
        assert f"{validation_score(['sentence'] * len(some), some, 'chrf'):.1f}" in text
        assert f"{len(part.places)}" in text
