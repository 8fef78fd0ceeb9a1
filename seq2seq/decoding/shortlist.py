"""Search among a few tokens of the vocabulary: those that the lexicon has for the sources at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.batching import Ints
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.search import Step, log_probs_of
from seq2seq.model.inference import InferenceModel
from seq2seq.model.step_cache import StepCache


class Shortlist(NamedTuple):
    """Tokens of the vocabulary, which in here are numbered from 0."""

    tokens: Ints  # (V',) of the vocabulary, in order
    start_id: int
    eos_id: int
    never_output: Sequence[int]

    @staticmethod
    def of(tokens: Ints, tokenizer: Tokenizer) -> Shortlist:
        """A shortlist of some tokens, and of the special ones, which a search needs."""
        special = [tokenizer.start_id, tokenizer.eos_id, *tokenizer.never_output]
        listed = np.union1d(tokens, special)
        start, end, *never = np.searchsorted(listed, special).tolist()
        return Shortlist(listed, start, end, never)

    def in_vocabulary(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """What the tokens of a hypothesis are in the vocabulary."""
        return tuple(self.tokens[list(tokens)].tolist())

    def step(self, model: InferenceModel, device: torch.device) -> Step[StepCache]:
        """The model's step with the shortlist as its vocabulary; probabilities are shares of what is listed."""
        listed = torch.from_numpy(self.tokens).to(device)
        output = model.output_among(listed)

        def step(tokens: Tensor, cache: StepCache) -> Tensor:
            return log_probs_of(output(model.step(listed[tokens], cache)))

        return step
