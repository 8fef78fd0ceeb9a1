"""Several models that translate as one: at each step, the mean of their probabilities (Sutskever et al. 2014).

The models may be of any sizes, but share a vocabulary. Each computes its own step, so an ensemble of two takes twice
the time of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.data.batching import pad
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Task, TorchEngine, rows_of_each, search_steps, step_of
from seq2seq.decoding.search import Cache, Hypothesis, Step
from seq2seq.decoding.shortlist import Shortlist


class EnsembleCache(Generic[Cache]):
    """The caches of all members, which are reordered and narrowed together."""

    def __init__(self, caches: Sequence[Cache]) -> None:
        """Hold caches of the same sentences and rows."""
        self.caches = caches

    @property
    def num_sentences(self) -> int:
        """Sentences still searched, `B`."""
        return self.caches[0].num_sentences

    @property
    def beam_size(self) -> int:
        """Rows of each sentence, `K`."""
        return self.caches[0].beam_size

    def select(self, rows: Tensor) -> None:
        """Let row `n` go on from what was row `rows[n]` `(N,)`."""
        for cache in self.caches:
            cache.select(rows)

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their rows."""
        for cache in self.caches:
            cache.keep_sentences(sentences)


def ensemble(steps: Sequence[Step[Cache]]) -> Step[EnsembleCache[Cache]]:
    """The step whose probabilities are the mean of those of several steps over one vocabulary."""

    def mean(tokens: Tensor, cache: EnsembleCache[Cache]) -> Tensor:
        log_probs = [step(tokens, own) for step, own in zip(steps, cache.caches, strict=True)]
        return torch.stack(log_probs).logsumexp(dim=0).sub_(math.log(len(steps)))

    return mean


class EnsembleEngine:
    """Our own search over the steps of several models; knows all settings, as a `TorchEngine` does."""

    in_processes = True

    def __init__(self, members: Sequence[TorchEngine], tokenizer: Tokenizer) -> None:
        """Join engines on one device, whose models have one tokenizer; a shortlist is by the first one's lexicon."""
        self.members = members
        self._tokenizer = tokenizer

    @property
    def max_length(self) -> int:
        """The longest source, and the longest translation, in tokens, that all members take."""
        return min(member.max_length for member in self.members)

    @property
    def workers(self) -> int:
        """As many as a member has alone."""
        return self.members[0].workers

    def check(self, config: DecodingConfig) -> None:
        """Know all settings.

        Raises:
            DecodingError: if there is no lexicon for a shortlist, or the device lacks the precision.
        """
        self.members[0].check(config)

    def prepare(self, config: DecodingConfig) -> None:
        """Lay out the weights of all members."""
        for member in self.members:
            member.prepare(config)

    @torch.inference_mode()
    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first."""
        models = [member.model_in(config.precision) for member in self.members]
        device = self.members[0].model.positions.device
        ids, mask = pad([task.tokens for task in tasks], self._tokenizer.pad_id)
        source, source_mask, rows = ids.to(device), mask.to(device), rows_of_each(config)
        cache = EnsembleCache([model.start(source, source_mask, rows) for model in models])
        if not config.shortlist:
            step = ensemble([step_of(model) for model in models])
            return search_steps(step, cache, self._tokenizer, tasks, config, device)
        lexicon = self.members[0].lexicon
        assert lexicon is not None
        listed = Shortlist.of(lexicon.shortlist(ids.numpy()), self._tokenizer)
        step = ensemble([listed.step(model, device) for model in models])
        return [
            [each._replace(tokens=listed.in_vocabulary(each.tokens)) for each in found]
            for found in search_steps(step, cache, listed, tasks, config, device)
        ]
