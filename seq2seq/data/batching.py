"""Batches of token ids under a token budget, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, device

Ints = NDArray[np.int64]


class Batch(NamedTuple):
    """Sentence pairs as padded tensors; masks are True where a token takes part."""

    source: Tensor  # (B, S) token ids
    source_mask: Tensor  # (B, S)
    target_input: Tensor  # (B, T) token ids, the target shifted right behind the start token
    target_output: Tensor  # (B, T) token ids to predict
    target_mask: Tensor  # (B, T)
    num_target_tokens: int

    def to(self, device: device) -> Batch:
        """The same batch on another device; a copy to a GPU is from pinned memory, so that nothing waits for it."""
        parts = (part.pin_memory() if device.type == "cuda" else part for part in self[:5])
        source, source_mask, target_input, target_output, target_mask = (
            part.to(device, non_blocking=True) for part in parts
        )
        return Batch(source, source_mask, target_input, target_output, target_mask, self.num_target_tokens)

    def parts(self, positions: int) -> Iterator[Batch]:
        """The same pairs in smaller batches of at most so many target positions; each is padded anew."""
        num_sentences, length = self.target_mask.shape
        rows = max(1, positions // length)
        for start in range(0, num_sentences, rows):
            here = slice(start, start + rows)
            num_target_tokens = int(self.target_mask[here].sum())
            sources, targets = (int(mask[here].sum(1).max()) for mask in (self.source_mask, self.target_mask))
            yield Batch(
                self.source[here, :sources], self.source_mask[here, :sources], self.target_input[here, :targets],
                self.target_output[here, :targets], self.target_mask[here, :targets], num_target_tokens,
            )  # fmt: skip


@dataclass(frozen=True)
class TokenSequences:
    """Many token sequences in two flat arrays: compact, and quick to cut."""

    tokens: NDArray[np.integer]  # all sequences, end to end; what is mapped from disk may have 16 bits
    ends: NDArray[np.integer]  # where each one ends

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> TokenSequences:
        """Pack lists of token ids."""
        lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        tokens = np.fromiter((token for sequence in sequences for token in sequence), dtype=np.int32, count=total)
        return TokenSequences(tokens, ends)

    @property
    def lengths(self) -> Ints:
        """The length of each sequence in tokens."""
        return np.diff(self.ends, prepend=0).astype(np.int64)

    @staticmethod
    def joined(parts: Sequence[TokenSequences]) -> TokenSequences:
        """The sequences of all parts, one part after another."""
        tokens = np.concatenate([np.zeros(0, np.int32), *(part.tokens for part in parts)], dtype=np.int32)
        lengths = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)])
        return TokenSequences(tokens, np.cumsum(lengths))

    def take(self, indices: Ints) -> TokenSequences:
        """A copy of the sequences at the indices, in their order."""
        stops = self.ends[indices].astype(np.int64)
        lengths = stops - np.where(indices > 0, self.ends[indices - 1], 0)
        ends = np.cumsum(lengths)
        places = np.arange(int(lengths.sum())) + np.repeat(stops - ends, lengths)
        return TokenSequences(self.tokens[places].astype(np.int32), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> NDArray[np.integer]:
        start = self.ends[index - 1] if index else 0
        return self.tokens[start : self.ends[index]]


@dataclass(frozen=True)
class Examples:
    """Tokenised sentence pairs: sources and targets with the final end token, without the start token."""

    source: TokenSequences
    target: TokenSequences

    @staticmethod
    def joined(parts: Sequence[Examples]) -> Examples:
        """The pairs of all parts, one part after another."""
        sides = ([part.source for part in parts], [part.target for part in parts])
        return Examples(*map(TokenSequences.joined, sides))

    def take(self, indices: Ints) -> Examples:
        """A copy of the pairs at the indices, in their order."""
        return Examples(self.source.take(indices), self.target.take(indices))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> Ints:
        """The longer side of each pair in tokens."""
        return np.maximum(self.source.lengths, self.target.lengths)


def plan_batches(examples: Examples, batch_tokens: int, *seed: int) -> list[Ints]:
    """Divide examples into batches of similar length, in shuffled order.

    Each example occurs once. Sentences times the longest side is at most `batch_tokens`, but for a batch of a single
    pair that is longer by itself. The plan depends on the lengths, the budget and the seed, which is a row of numbers
    such as seed and epoch, and on nothing else, so a run that is resumed, or spread over more processes, sees the same
    batches.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(examples))
    target, longest = examples.target.lengths, examples.lengths
    # Sorting by target, then source, leaves little padding on either side; ties stay shuffled (lexsort is stable).
    order = order[np.lexsort((examples.source.lengths[order], target[order]))]
    batches = cut_batches(longest[order], batch_tokens)
    return [order[batches[i]] for i in generator.permutation(len(batches))]


def cut_batches(lengths: Ints, batch_tokens: int, batch_size: int = 0) -> list[slice]:
    """Cut a row of examples into consecutive batches: count times longest at most `batch_tokens`.

    Args:
        lengths: of the examples in tokens, in the order in which they are to be cut.
        batch_tokens: budget of a batch, padding included; a longer example is a batch by itself.
        batch_size: largest number of examples in a batch, 0 for no bound.
    """
    batches, start, longest = [], 0, 0
    for i, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if i > start and (longest * (i - start + 1) > batch_tokens or i - start == batch_size):
            batches.append(slice(start, i))
            start, longest = i, length
    if start < len(lengths):
        batches.append(slice(start, len(lengths)))
    return batches


def make_batch(examples: Examples, indices: Sequence[int] | Ints, pad_id: int, start_id: int) -> Batch:
    """Pad the examples at `indices` into one batch of CPU tensors."""
    source, source_mask = pad([examples.source[i] for i in indices], pad_id)
    target_output, target_mask = pad([examples.target[i] for i in indices], pad_id)
    target_input = shifted(target_output, target_mask, pad_id, start_id)
    return Batch(source, source_mask, target_input, target_output, target_mask, int(target_mask.sum()))


def shifted(target: Tensor, mask: Tensor, pad_id: int, start_id: int) -> Tensor:
    """What the decoder sees when it predicts padded token ids `(B, T)`: these, shifted right behind the start token."""
    seen = target.roll(1, dims=1)
    seen[:, 0] = start_id
    # What was shifted past a row's end is not read: its output is masked. Padding keeps the batch easy to look at.
    seen[~mask] = pad_id
    return seen


def pad(sequences: Sequence[Sequence[int] | NDArray[np.integer]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids `(B, T)` padded on the right, and their mask `(B, T)`, True where a token takes part."""
    import torch

    width = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(sequences), width), dtype=bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)
