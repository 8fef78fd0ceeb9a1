"""What every search shares: the model as a `Step`, its cache, hypotheses, bounds and the length penalty.

The searches themselves are functions of a `Step`: `beam.beam_search`, `sampling.greedy` and `sampling.sample`.

Axes: `B` sentences still searched, `K` rows (beams or samples) of each, `N = B * K`, `V` vocabulary, `T` tokens so far.
Row `b * K + k` is beam `k` of sentence `b`. A *length* counts the final end token, in tokens, everywhere: in the length
penalty, in the bounds, and on the source side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.config import DecodingConfig
from seq2seq.errors import DecodingError

_BLOCK = 32  # tokens of which at first only the likeliest is looked at


class SearchCache(Protocol):
    """What a step remembers of the tokens so far; searches reorder and narrow it."""

    @property
    def num_sentences(self) -> int:
        """Sentences still searched, `B`."""

    @property
    def beam_size(self) -> int:
        """Rows of each sentence, `K`."""

    def select(self, rows: Tensor) -> None:
        """Let row `n` go on from what was row `rows[n]` `(N,)`, a row of the same sentence."""

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their rows, and put these into the given order."""


Cache = TypeVar("Cache", bound=SearchCache)
Cache_contra = TypeVar("Cache_contra", bound=SearchCache, contravariant=True)


class Step(Protocol[Cache_contra]):
    """One step of a model: all that a search knows of it."""

    def __call__(self, tokens: Tensor, cache: Cache_contra, /) -> Tensor:
        """Log-probabilities `(N, V)` in float32 of the next tokens, given the latest ones `(N,)` and the cache.

        The result is a new tensor, which the caller may overwrite.
        """


class Hypothesis(NamedTuple):
    """One translation in tokens."""

    tokens: tuple[int, ...]  # without the start token, without the final end token
    log_prob: float  # of all tokens and the end token, in nats
    score: float  # log_prob / length penalty, or what chose it: what n-best lists are sorted by
    reverse_score: float | None = None  # the source's, given this, by a model that translates back; see `reranking`


# The tokens of a hypothesis, the latest first: `(earlier, token)`, or `()`. Hypotheses share what they have in common.
Path = tuple[()] | tuple["Path", int]


def tokens_of(path: Path) -> list[int]:
    """The tokens of a path, the earliest first."""
    tokens = []
    while path:
        path, token = path
        tokens.append(token)
    return tokens[::-1]


class Bounds(NamedTuple):
    """Where the hypotheses of each sentence begin and end."""

    start_id: int
    end_id: int
    max_lengths: Tensor  # (B,) on the CPU, at least 1; at this length the end token is forced, at its true probability
    device: torch.device  # of the step's tensors


def closed_up(kept: Sequence[int]) -> list[int]:
    """Places that are kept, in an order in which the rearmost move into the gaps: little of a cache is copied then."""
    size, staying = len(kept), set(kept)
    rearmost = [place for place in kept if place >= size]
    return [place if place in staying else rearmost.pop() for place in range(size)]


def length_penalty(length: int, config: DecodingConfig) -> float:
    """The divisor of the log-probability of a hypothesis of `length` tokens, the end token included.

    "power" is `length ** alpha`, with alpha 1 the mean log-probability of a token. "gnmt" is equation 14 of Wu et al.
    2016 (arXiv 1609.08144), `((5 + length) / 6) ** alpha`.
    """
    match config.length_penalty_form:
        case "power":
            return float(length**config.length_penalty)
        case "gnmt":
            return float(((5 + length) / 6) ** config.length_penalty)


def in_power_form(config: DecodingConfig) -> DecodingConfig:
    """The settings for a search that knows "power" alone; in place of "gnmt", with the alpha 1 that is usual there."""
    if config.length_penalty_form == "power":
        return config
    return replace(config, length_penalty_form="power", length_penalty=1.0 if config.length_penalty else 0.0)


def hypothesis(tokens: list[int], log_prob: float, config: DecodingConfig) -> Hypothesis:
    """A finished hypothesis with its score; `tokens` are without start and end."""
    return Hypothesis(tuple(tokens), log_prob, log_prob / length_penalty(len(tokens) + 1, config))


def best_first(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Hypotheses sorted by score, the best first; of equal scores the earlier found stays first."""
    return sorted(hypotheses, key=lambda found: -found.score)


def force_end(log_probs: Tensor, at_end: Tensor, end_id: int) -> None:
    """Leave, in place, only the end token to sentences that have reached their greatest length.

    Args:
        log_probs: `(B, K, V)`.
        at_end: `(B,)` on the CPU, True where the next token must be the last.
        end_id: the end token.
    """
    if at_end.any():
        sentences = at_end.nonzero().squeeze(1).to(log_probs.device)
        end = log_probs[sentences, :, end_id]
        log_probs[sentences] = -torch.inf
        log_probs[sentences, :, end_id] = end


def log_probs_of(logits: Tensor) -> Tensor:
    """Log-probabilities `(N, V)` in float32 of logits `(N, V)`.

    Raises:
        DecodingError: if they are not numbers.
    """
    log_probs = F.log_softmax(logits.float(), dim=1)
    if log_probs[:, 0].isnan().any():  # then all of the row is
        raise DecodingError(
            "the model's probabilities are not numbers: its training diverged; use an earlier checkpoint, or train "
            "with a lower learning rate"
        )
    return log_probs


def best_extensions(log_probs: Tensor, totals: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The greatest of `totals (B, K)` + `log_probs (B, K, V)` for each sentence, and their places in `(K * V,)`.

    They are those of `topk`, which is slow over so many. Here the vocabulary is cut into blocks first: the best
    `number` tokens lie in the `number` blocks whose best token is best, so the others need not be looked at.

    Returns:
        Both `(B, number)`, best first.
    """
    num_sentences, beam_size, num_tokens = log_probs.shape
    num_blocks = num_tokens // _BLOCK
    if num_blocks * beam_size < 2 * number:
        return (totals[:, :, None] + log_probs).flatten(1).topk(number, dim=1)
    # Token r * num_blocks + g is in block g, so that the greatest of all blocks are found side by side.
    in_blocks, device = num_blocks * _BLOCK, log_probs.device
    blocks = torch.unflatten(log_probs[:, :, :in_blocks], 2, (_BLOCK, num_blocks))  # (B, K, 32, G)
    greatest = (blocks.amax(2) + totals[:, :, None]).flatten(1)  # (B, K * G)
    chosen = greatest.topk(number, dim=1, sorted=False).indices
    first = chosen // num_blocks * num_tokens + chosen % num_blocks  # (B, number), places of the blocks' first tokens
    places = (first[:, :, None] + torch.arange(0, in_blocks, num_blocks, device=device)).flatten(1)
    if in_blocks < num_tokens:  # some tokens fill no block
        rest = torch.arange(beam_size * num_tokens, device=device).view(beam_size, num_tokens)[:, in_blocks:]
        places = torch.cat([places, rest.flatten().expand(num_sentences, -1)], dim=1)
    looked_at = log_probs.flatten(1).gather(1, places) + totals.gather(1, places // num_tokens)
    best, at = looked_at.topk(number, dim=1)
    return best, places.gather(1, at)


def likeliest(log_probs: Tensor) -> Tensor:
    """The likeliest token `(N,)` of each row `(N, V)`; `argmax` is slow over many rows."""
    if len(log_probs) < _BLOCK:
        return log_probs.argmax(1)
    _, tokens = best_extensions(log_probs[:, None], log_probs.new_zeros(len(log_probs), 1), 1)
    return tokens.squeeze(1)
