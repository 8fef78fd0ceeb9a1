"""Minimum risk training: the model learns from its own translations, by how good they are.

Cross entropy asks for the reference, word by word, given the reference's own words before. The risk is what counts when
the model is used: the cost that its translations have on average. For a source x with the reference r and candidates Y,
which a beam search of the model at that moment finds,

    R = sum over y in Y of Q(y) cost(y),    Q(y) = softmax over Y of log p(y | x) / |y|

(Shen et al. 2016, arXiv 1512.02433; lengths, costs and the mixture with cross entropy are those of Edunov et al. 2018,
arXiv 1711.04956). The cost is 1 - BLEU of y against r, as a sentence, scaled for each source so that the best candidate
costs 0 and the worst 1. BLEU of a whole test set has one brevity penalty, and beam search is usually too short for it,
so translations longer than their reference get a bonus here in place of no penalty (see `bleu_utilities`).

Q is that of the search, without dropout; the gradient of R, sum of Q(y) (cost(y) - R) grad log p(y | x) / |y|, is taken
with dropout. A source counts as often as its reference has tokens, as in cross entropy, some of which is kept beside
the risk: without it, the model would forget what is in no candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig, TrainingConfig
from seq2seq.data.batching import Batch, pad, shifted
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Task, TorchEngine
from seq2seq.decoding.search import Hypothesis
from seq2seq.decoding.utility import bleu_utilities, chrf_utilities
from seq2seq.model.transformer import Memory, Transformer
from seq2seq.training.loss import Losses, output_loss


class RiskLoss:
    """The loss of a batch by the model's own translations.

    Attributes:
        num_candidates: translations of each source, all of which are computed at once.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, training: TrainingConfig) -> None:
        """Of a model and its tokenizer; how the run translates does not matter."""
        self.num_candidates, self._weight = training.risk_candidates, training.minimum_risk
        self._model, self._tokenizer, self._smoothing = model, tokenizer, training.label_smoothing
        self._measure = training.risk_measure
        self._search = DecodingConfig(beam_size=training.risk_candidates, n_best=training.risk_candidates)

    def __call__(self, batch: Batch) -> Losses:
        """The losses, summed over the batch's target tokens; those that are not minimised are of cross entropy."""
        memory = self._model.encode(batch.source, batch.source_mask)
        states = self._model.decoder_states(batch.target_input, memory)[batch.target_mask]
        entropy = output_loss(self._model, states, batch.target_output[batch.target_mask], self._smoothing)
        # Not a mean of both, as a share would make it: the gradient of the risk is small, and Adam, which knows that of
        # the cross entropy, would take hundreds of small steps before it takes others.
        minimised = entropy.minimised + self._weight * self._risk(batch, memory)
        return Losses(minimised, entropy.smoothed, entropy.plain)

    def _risk(self, batch: Batch, memory: Memory) -> Tensor:
        """A number without meaning, whose gradient is that of the risk, summed over the batch's target tokens."""
        references = [ids[mask].tolist() for ids, mask in zip(batch.target_output, batch.target_mask, strict=True)]
        candidates, owners, weights = [], [], []
        for owner, (reference, found) in enumerate(zip(references, self._candidates(batch, references), strict=True)):
            candidates += [[*each.tokens, self._tokenizer.eos_id] for each in found]
            owners += [owner] * len(found)
            weights.append(len(reference) * self._weights(reference[:-1], found))
        target, mask = (each.to(batch.source.device) for each in pad(candidates, self._tokenizer.pad_id))
        sentence = torch.tensor(owners, device=target.device)
        # Unlike that of an index, the gradient of a selection is summed in an order that does not depend on threads.
        theirs = Memory(memory.states.index_select(0, sentence), memory.mask[sentence])
        seen = shifted(target, mask, self._tokenizer.pad_id, self._tokenizer.start_id)
        states = self._model.decoder_states(seen, theirs)[mask]
        of_each = torch.cat(weights).to(target.device) / mask.sum(1)  # mean log-probabilities are what counts
        of_tokens = of_each[:, None].expand_as(mask)[mask]
        # Cross entropy is the negative log-probability.
        return output_loss(self._model, states, target[mask], smoothing=0.0, row_weights=-of_tokens).minimised

    def _candidates(self, batch: Batch, references: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        """What the model as it is finds for each source."""
        limit = self._model.config.max_length
        tasks = [
            Task(ids[mask].tolist(), 1, min(self._longest(len(reference)), limit), ())
            for ids, mask, reference in zip(batch.source, batch.source_mask, references, strict=True)
        ]
        with torch.autocast(batch.source.device.type, enabled=False):
            found = TorchEngine(self._model, self._tokenizer).search(tasks, self._search)
        self._model.train()  # again: who translates has no dropout
        return found

    def _longest(self, reference: int) -> int:
        """How many tokens a candidate has at most, for a reference of so many."""
        return 2 * reference + 10

    def _weights(self, reference: Sequence[int], found: Sequence[Hypothesis]) -> Tensor:
        """Q(y) (cost(y) - R) of each candidate."""
        texts = [self._tokenizer.decode_target(tokens) for tokens in (reference, *(each.tokens for each in found))]
        utilities = chrf_utilities(texts) if self._measure == "chrf" else bleu_utilities(texts, rewards_length=True)
        good = torch.from_numpy(utilities[1:, 0]).float()  # each against the reference
        costs = (good.max() - good) / (good.max() - good.min()).clamp_min(1e-6)
        mean_log_probs = torch.tensor([each.log_prob / (len(each.tokens) + 1) for each in found])
        probabilities = mean_log_probs.softmax(0)
        return probabilities * (costs - probabilities @ costs)
