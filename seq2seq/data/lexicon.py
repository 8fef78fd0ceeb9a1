"""Which target tokens a source token may become: a lexicon that is counted in the training text.

With it, decoding looks at a *shortlist* of the vocabulary only (Jean et al. 2015, section 3.2, arXiv 1412.2007): what
the lexicon has for the tokens of the batch, and the most frequent tokens of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.batching import Examples, Ints
from seq2seq.errors import CheckpointError

FILE = "lexicon.safetensors"
_TRANSLATIONS = 40  # of a token, at most
_LEAST = 1e-3  # probability of a translation
_FREQUENT = 300  # target tokens that are in every shortlist
_ENTRIES = 20_000_000  # pairs of a source and a target token that are counted, at most: a gigabyte, ten seconds
_ITERATIONS = 4


@dataclass(frozen=True)
class Lexicon:
    """Translations of every source token, and the most frequent target tokens."""

    translations: NDArray[np.int32]  # (V_source, 40), likeliest first, then -1; (V, 41) of a joint vocabulary
    frequent: NDArray[np.int32]  # target tokens that may always be said

    def shortlist(self, source: NDArray[np.int64]) -> Ints:
        """The target tokens for source tokens of any shape, in order, each once."""
        found = np.concatenate([self.translations[np.unique(source)].ravel(), self.frequent])
        tokens = np.unique(found)
        return tokens[tokens >= 0].astype(np.int64)

    def save(self, run: Path) -> None:
        """Write it into a run directory."""
        from safetensors.numpy import save

        from seq2seq.files import atomic_write_bytes

        atomic_write_bytes(run / FILE, save({"translations": self.translations, "frequent": self.frequent}))

    @staticmethod
    def load(run: Path) -> Lexicon | None:
        """That of a run directory; None if it has none.

        Raises:
            CheckpointError: if the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(run / FILE)
            return Lexicon(arrays["translations"], arrays["frequent"])
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, OSError) as error:
            raise CheckpointError(f"{run / FILE}: damaged ({error}); delete it, `train --resume` writes one") from None


def learn_lexicon(examples: Examples, source_size: int, target_size: int, joint: bool, seed: int = 1) -> Lexicon:
    """Count a lexicon by IBM Model 1 (Brown et al. 1993), whose empty source word is the end token here.

    Args:
        examples: training pairs, with end tokens; of many, as many are drawn as take little memory and time.
        source_size: of the source vocabulary.
        target_size: of the target vocabulary.
        joint: whether both are one, so that a token may also be copied.
        seed: of the draw.
    """
    source, target = examples.source, examples.target
    drawn = np.random.default_rng(seed).permutation(len(examples))
    drawn = np.sort(drawn[np.cumsum((source.lengths * target.lengths)[drawn]) <= _ENTRIES])
    sources, targets = _entries(examples, drawn)
    pairs, entries = np.unique(sources.astype(np.int64) * target_size + targets, return_inverse=True)
    of_source = pairs // target_size
    ends = np.cumsum(np.repeat(source.lengths[drawn], target.lengths[drawn]))  # of the entries of each target position
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    probability = np.ones(len(pairs))
    for _ in range(_ITERATIONS if len(pairs) else 0):
        weights = probability[entries]
        weights /= np.repeat(np.add.reduceat(weights, starts), np.diff(ends, prepend=0))  # over the source tokens
        counts = np.bincount(entries, weights, minlength=len(pairs))
        probability = counts / np.bincount(of_source, counts, minlength=source_size)[of_source]
    translations = _likeliest(of_source, pairs % target_size, probability, source_size)
    if joint:
        translations = np.concatenate([np.arange(source_size, dtype=np.int32)[:, None], translations], axis=1)
    frequency = np.bincount(target.tokens, minlength=target_size)
    frequent = np.argsort(-frequency, kind="stable")[:_FREQUENT]
    return Lexicon(translations, frequent[frequency[frequent] > 0].astype(np.int32))


def _entries(examples: Examples, drawn: Ints) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Each target token of the drawn pairs with each source token of its pair: two rows, by target position."""
    source_lengths, target_lengths = examples.source.lengths[drawn], examples.target.lengths[drawn]
    positions = _ranges((examples.target.ends - examples.target.lengths)[drawn], target_lengths)
    source_starts = np.repeat((examples.source.ends - examples.source.lengths)[drawn], target_lengths)
    lengths = np.repeat(source_lengths, target_lengths)
    sources = examples.source.tokens[_ranges(source_starts, lengths)]
    return sources, np.repeat(examples.target.tokens[positions], lengths)


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """`starts[0], starts[0] + 1, ...`, as many as `lengths[0]`, then those of the next start, and so on."""
    before = np.cumsum(lengths) - lengths
    found: Ints = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    return found


def _likeliest(sources: Ints, targets: Ints, probability: NDArray[np.float64], size: int) -> NDArray[np.int32]:
    """The likeliest targets of each source, `(size, 40)`, padded with -1."""
    keep = probability >= _LEAST
    sources, targets, probability = sources[keep], targets[keep], probability[keep]
    order = np.lexsort((-probability, sources))
    sources, targets = sources[order], targets[order]
    rank = np.arange(len(sources)) - np.searchsorted(sources, sources)
    table = np.full((size, _TRANSLATIONS), -1, dtype=np.int32)
    best = rank < _TRANSLATIONS
    table[sources[best], rank[best]] = targets[best]
    return table
