"""The probability that a model gives to translations that are already there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.data.batching import Examples, TokenSequences, cut_batches, make_batch
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DecodingError
from seq2seq.model.transformer import Transformer

_POSITIONS = 1024  # whose logits over the vocabulary are in memory at once


def score_tokens(
    model: Transformer,
    tokenizer: Tokenizer,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_tokens: int = 4096,
) -> list[float]:
    """The log-probability of each target given its source, in nats, its end token included.

    Args:
        model: the model, which is put into evaluation mode.
        tokenizer: its tokenizer.
        sources, targets: token ids, both with the final end token and without the start token.
        batch_tokens: tokens scored together, padding included, at most.

    Raises:
        DecodingError: if a side of a pair is longer than the model takes.
    """
    found = token_log_probs(model, tokenizer, sources, targets, batch_tokens)
    return [float(log_probs.sum()) for log_probs in found]


@torch.inference_mode()
def token_log_probs(
    model: Transformer,
    tokenizer: Tokenizer,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_tokens: int = 4096,
) -> list[NDArray[np.float64]]:
    """The log-probability of each token of each target, `(T,)` in nats; arguments as in `score_tokens`."""
    examples = Examples(TokenSequences.of(sources), TokenSequences.of(targets))
    lengths = examples.lengths
    limit = model.config.max_length
    for number in (lengths > limit).nonzero()[0][:1]:
        raise DecodingError(
            f"pair {number + 1} has a side of {lengths[number]} tokens: the model takes {limit} (`model.max_length`); "
            "shorten it or leave it out"
        )
    model.eval()
    found: list[NDArray[np.float64]] = [np.zeros(0)] * len(examples)
    order = np.argsort(-lengths, kind="stable")
    for part in cut_batches(lengths[order], batch_tokens):
        indices = order[part]
        batch = make_batch(examples, indices, tokenizer.pad_id, tokenizer.start_id).to(model.positions.device)
        memory = model.encode(batch.source, batch.source_mask)
        states = model.decoder_states(batch.target_input, memory)[batch.target_mask]  # (P, D), of real positions only
        tokens = batch.target_output[batch.target_mask]  # (P,)
        log_probs = _log_probs(model, states, tokens).double().cpu().numpy()
        ends = np.cumsum(batch.target_mask.sum(dim=1).cpu().numpy())
        for index, row in zip(indices, np.split(log_probs, ends[:-1]), strict=True):
            found[index] = row
    return found


def _log_probs(model: Transformer, states: Tensor, tokens: Tensor) -> Tensor:
    """The log-probabilities `(P,)` of tokens `(P,)` from decoder states `(P, D)`, in slices."""
    parts = []
    for some_states, some_tokens in zip(torch.split(states, _POSITIONS), torch.split(tokens, _POSITIONS), strict=True):
        logits = model.output(some_states).float()  # (_POSITIONS, V)
        parts.append(logits.gather(1, some_tokens[:, None]).squeeze(1) - logits.logsumexp(dim=1))
    return torch.cat(parts)
