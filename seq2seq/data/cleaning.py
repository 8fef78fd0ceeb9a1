"""Training text made fit: noise dropped and counted, and nothing of it near what the model is tested on."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from seq2seq.config import PrepareConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.data.filters import filters_of, was_misread
from seq2seq.data.sides import Sides
from seq2seq.data.tags import tags_of_directions, without_tag
from seq2seq.errors import DataError

_FEWER = "hold out fewer (`recipe.validation_size`, `recipe.test_size`), or give validation and test text, or more text"
_MIN_WORDS = 3  # shorter sentences are held out only when nothing else is left

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff]")
# What separates words stays a separator; the rest, and a byte order mark inside text, says nothing.
_CONTROL_TABLE = {code: " " if chr(code).isspace() else None for code in (*range(0x20), *range(0x7F, 0xA0), 0xFEFF)}

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_NUMBER = re.compile("0+")
_MARK = "\ue000"  # stands for a placeholder; of private use, so no text has it
# Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): a character is a word there.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_UNSPACED}]|[^ {_UNSPACED}]+")

# All reasons to drop a pair, in the order in which they are asked: the names of `filters_of`, and two more.
REASONS = (
    "empty", "mojibake", "too_long", "too_many_words", "ratio", "repetition", "copy", "letters", "script", "numbers",
    "swapped", "language", "overlap", "duplicate",
)  # fmt: skip

Words = frozenset[str]


class Judge:
    """Says of each pair by itself whether it is fit for training; duplicates are another matter."""

    def __init__(
        self,
        config: PrepareConfig,
        languages: tuple[str, str],
        held_out: Iterable[SentencePair],
        sides: Sides | None = None,
    ) -> None:
        """Judge by filters, by what validation and test pairs there are, and by what the corpus has on its sides.

        Raises:
            ConfigError: if a filter is not installed, or does not know a language.
        """
        self._config = config
        self._filters = filters_of(config, languages, sides)
        self._held_out = HeldOut(held_out if config.remove_overlap else ())

    @property
    def reasons(self) -> list[str]:
        """All that a pair may be dropped for, in the order in which it is asked."""
        return [each.name for each in self._filters] + (["overlap"] if self._held_out else [])

    def tidied(self, pair: SentencePair) -> SentencePair:
        """A pair in the Unicode form that is asked for, without control characters and outer space."""
        return SentencePair(_tidy(pair.source, self._config), _tidy(pair.target, self._config))

    def reason(self, pair: SentencePair) -> str:
        """Why a tidied pair is dropped: a name of `reasons`; empty if it is not."""
        for each in self._filters:
            if each.drops(pair):
                return each.name
        return "overlap" if self._held_out.is_near(pair) else ""


class HeldOut:
    """What validation and test text must not share with training text."""

    def __init__(self, pairs: Iterable[SentencePair]) -> None:
        """Know these pairs."""
        self._digests = {digest for pair in pairs for text in pair for digest in _digests_of(text)}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def is_near(self, pair: SentencePair) -> bool:
        """A side nearly equals any side of a held-out pair, see `near_duplicate_key`: corpora may be turned.

        What follows the tag of a direction, such as <2de>, counts by itself, too.
        """
        return bool(self) and any(digest in self._digests for text in pair for digest in _digests_of(text))


def clean(
    pairs: Iterable[SentencePair],
    config: PrepareConfig,
    held_out: Sequence[SentencePair],
    counts: Counter[str],
    languages: tuple[str, str] = ("", ""),
    sides: Sides | None = None,
) -> Iterator[SentencePair]:
    """The pairs that are fit for training, in their order, normalised, without control characters and outer space.

    Args:
        pairs: training pairs.
        config: what to drop.
        held_out: validation and test pairs.
        counts: dropped pairs are counted here by the first reason that applies: the names of `filters_of` in their
            order, then `overlap` (a side nearly equals a side of a held-out pair), and `duplicate`.
        languages: codes of the source and the target language.
        sides: learnt from the whole corpus, for `drop_swapped`.

    Raises:
        ConfigError: if a filter is not installed, or does not know a language.
    """
    return clean_each([(pairs, config)], held_out, counts, languages, sides)


def clean_each(
    corpora: Iterable[tuple[Iterable[SentencePair], PrepareConfig]],
    held_out: Sequence[SentencePair],
    counts: Counter[str],
    languages: tuple[str, str] = ("", ""),
    sides: Sides | None = None,
) -> Iterator[SentencePair]:
    """`clean` for several corpora, one after another, each by settings of its own but for those of duplicates."""
    seen: defaultdict[int, set[int]] = defaultdict(set)
    for pairs, config in corpora:
        judge = Judge(config, languages, held_out, sides)
        for raw in pairs:
            pair = judge.tidied(raw)
            reason = judge.reason(pair)
            if not reason:
                keys = list(enumerate(identities(pair, config)))
                if any(key in seen[kind] for kind, key in keys):
                    reason = "duplicate"
                for kind, key in keys:
                    seen[kind].add(key)
            if reason:
                counts[reason] += 1
            else:
                yield pair


def without_overlap(
    pairs: Iterable[SentencePair], held_out: Iterable[SentencePair], config: PrepareConfig, counts: Counter[str]
) -> Iterator[SentencePair]:
    """Clean pairs without those near held-out ones, which `clean` drops when it knows them; counted as `overlap`."""
    known = HeldOut(held_out if config.remove_overlap else ())
    for pair in pairs:
        if known.is_near(pair):
            counts["overlap"] += 1
        else:
            yield pair


def identities(pair: SentencePair, config: PrepareConfig, tag: str = "") -> list[int]:
    """What must not have come before, for a pair to be no duplicate: 64-bit numbers, none if duplicates may stay.

    Sources with different tags are different. Among a hundred million texts, two different ones have the same number
    with a chance of 3 in 10,000.
    """
    if not config.deduplicate:
        return []
    same = near_duplicate_key if config.deduplicate_by == "normalised" else str
    sides = [f"{tag} {same(pair.source)}" if tag else same(pair.source), same(pair.target)]
    match config.deduplicate_sides:
        case "pair":
            return [digest_of("\n".join(sides))]
        case "source":
            return [digest_of(sides[0])]
        case "target":
            return [digest_of(sides[1])]
        case "both":
            return [digest_of(side) for side in sides]


def near_duplicate_key(text: str) -> str:
    """What is left of a text without case, compatible forms, punctuation and space, with all numbers as 0.

    Placeholders such as `{name}` are all alike. Texts with the same key are near-duplicates of one another. A text of
    nothing but punctuation is its own key, so that it is a near-duplicate of few others.
    """
    key = _latin_key(text)
    if key is None:
        key = _NUMBER.sub("0", "".join(_bare(text).split()))  # once more, for 1,000
    return key or "".join(unicodedata.normalize("NFKC", text).split())


def _digests_of(text: str) -> Iterator[int]:
    """Of the key of a text, and of what follows its tag, if it has one."""
    yield digest_of(near_duplicate_key(text))
    if without_tag(text) != text:
        yield _digest_without_tag(text)


def _digest_without_tag(text: str) -> int:
    return digest_of(near_duplicate_key(without_tag(text)))


def split_held_out(
    pairs: Sequence[SentencePair], validation_size: int, test_size: int, seed: int
) -> tuple[list[SentencePair], list[SentencePair], list[SentencePair]]:
    """Split a corpus into training, validation and test pairs, each in the order of the corpus.

    Held-out pairs are drawn at random, differ from one another on both sides in more than `near_duplicate_key` looks
    at, and have three words or more as far as there are such. The tag of a direction before a text, such as <2de>, does
    not count. What is near a held-out pair is in none of the parts: a pair one of whose sides has the same key as that
    side of a held-out pair, or shares four fifths of their words; where there are tags, as either side of it.

    Raises:
        DataError: if there are too few different pairs, or nothing is left for training.
    """
    wanted = validation_size + test_size
    if not wanted:
        return list(pairs), [], []
    keys = [(_digest_without_tag(pair.source), _digest_without_tag(pair.target)) for pair in pairs]
    # The sides of others that each side is held to: where there are tags, the same text may come turned.
    has_tags = bool(tags_of_directions([pair.source for pair in pairs]))
    beside = ((0, 1), (0, 1)) if has_tags else ((0,), (1,))
    drawn = _draw(pairs, keys, beside, wanted, seed)
    held_out = [pairs[index] for index in drawn]
    held_keys = [{keys[index][other] for index in drawn for other in beside[side]} for side in (0, 1)]
    near = [
        _NearWords([pair[other] for pair in held_out for other in beside[side]], [pair[side] for pair in pairs])
        for side in (0, 1)
    ]
    train = [
        pair
        for pair, key in zip(pairs, keys, strict=True)
        if not any(key[side] in held_keys[side] or near[side].has(pair[side]) for side in (0, 1))
    ]
    if not train:
        raise DataError(f"all {len(pairs)} pairs are near the {wanted} held-out ones; {_FEWER}")
    validation, test = sorted(drawn[:validation_size]), sorted(drawn[validation_size:])
    return train, [pairs[index] for index in validation], [pairs[index] for index in test]


def _tidy(text: str, config: PrepareConfig) -> str:
    """A text in the Unicode form that is asked for, without control characters and outer space."""
    if config.unicode_form != "none" and not text.isascii():
        text = unicodedata.normalize(config.unicode_form.upper(), text)  # type: ignore[arg-type]
    # Control characters in wrongly decoded text are bytes of letters: without them, its filter would not know it.
    if _CONTROL.search(text) and not (config.drop_mojibake and was_misread(text)):
        text = text.translate(_CONTROL_TABLE)
    return text.strip()


def digest_of(text: str) -> int:
    """64 bits for a text: among ten million texts, two have the same digest with a chance of 3 in a million."""
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest())


class _Bare(dict[int, str]):
    """A table for `str.translate`, filled as characters turn up: letters and marks stay, digits become 0."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        kept = chr(code) if category[0] in "LM" or chr(code) == _MARK else "0" if category[0] == "N" else " "
        self[code] = kept
        return kept


_BARE = _Bare()


def _bare(text: str) -> str:
    """Words only, between spaces: letters without case, 0 for each number, a mark for each placeholder."""
    if "{" in text:
        text = _PLACEHOLDER.sub(f" {_MARK} ", text)
    return _NUMBER.sub("0", unicodedata.normalize("NFKC", text).casefold().translate(_BARE))


def _latin_key(text: str) -> str | None:
    """The key of a text of Latin-1, ten times as fast; None for what has other characters, or placeholders."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    if _OTHERWISE.search(raw):
        return None
    return _NUMBER.sub("0", raw.translate(_LATIN, _SILENT).replace(b"\xdf", b"ss").decode("latin-1"))


# What becomes of each character of Latin-1 by itself: another one, nothing, or something that is no one character.
_ALONE = ["".join(_bare(chr(code)).split()) for code in range(256)]
_LATIN = bytes(ord(key) if len(key) == 1 and key < "\u0100" else code for code, key in enumerate(_ALONE))
_SILENT = bytes(code for code, key in enumerate(_ALONE) if not key)
_OTHERWISE = re.compile(
    b"[{" + b"".join(re.escape(bytes([code])) for code, key in enumerate(_ALONE) if len(key) > 1 and code != 0xDF)
    + b"".join(re.escape(bytes([code])) for code, key in enumerate(_ALONE) if len(key) == 1 and key >= "\u0100") + b"]"
)  # fmt: skip


def _words(text: str) -> list[str]:
    return _WORD.findall(_bare(without_tag(text)))


def _draw(
    pairs: Sequence[SentencePair],
    keys: Sequence[tuple[int, int]],
    beside: Sequence[Sequence[int]],
    number: int,
    seed: int,
) -> list[int]:
    """Indices of pairs whose keys differ from those `beside` them, at random, those of three words or more first."""
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda index: min(len(_words(text)) for text in pairs[index]) < _MIN_WORDS)
    drawn: list[int] = []
    seen: tuple[set[int], set[int]] = (set(), set())
    for index in order:
        if len(drawn) == number:
            break
        if all(keys[index][side] not in seen[other] for side in (0, 1) for other in beside[side]):
            drawn.append(index)
            for side in (0, 1):
                seen[side].add(keys[index][side])
    if len(drawn) < number:
        raise DataError(
            f"{number} pairs are to be held out, but only {len(drawn)} of {len(pairs)} differ enough; {_FEWER}"
        )
    return drawn


class _NearWords:
    """Finds texts which share at least four fifths of their words, as sets, with one of the held-out texts.

    Sets that similar have a word in common even among the rarest fifth (and one more) of each, so only texts that do
    are compared: the prefix filter of Bayardo et al. 2007, "Scaling up all pairs similarity search".
    """

    def __init__(self, held_out: Iterable[str], all_texts: Iterable[str]) -> None:
        self._frequency = Counter(word for text in all_texts for word in set(_words(text)))
        self._index: defaultdict[str, list[Words]] = defaultdict(list)
        for words in {frozenset(_words(text)) for text in held_out}:
            for word in self._rarest(words):
                self._index[word].append(words)

    def has(self, text: str) -> bool:
        """Whether a held-out text is that near; a text without words is near to none."""
        words = frozenset(_words(text))
        return any(
            5 * len(words & held) >= 4 * len(words | held)
            for word in self._rarest(words)
            for held in self._index.get(word, ())
        )

    def _rarest(self, words: Words) -> list[str]:
        ranked = sorted(words, key=lambda word: (self._frequency[word], word))
        return ranked[: len(ranked) - -(-4 * len(ranked) // 5) + 1] if ranked else []
