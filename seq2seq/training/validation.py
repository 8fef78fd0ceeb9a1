"""Validation: the loss, and BLEU and chrF of translations made exactly as `translate` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from seq2seq.config import Config
from seq2seq.data.batching import cut_batches, make_batch
from seq2seq.data.corpus import SentencePair, read_corpus, tagged
from seq2seq.data.tags import tags_of_directions
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DataError
from seq2seq.evaluation import validation_score
from seq2seq.model.transformer import Transformer
from seq2seq.training.feed import tokenize
from seq2seq.training.loss import TranslationLoss


def read_validation_pairs(config: Config) -> list[SentencePair]:
    """The validation corpus, whole; empty if the run has none. If it has no tags, that of `decoding` is put to it."""
    corpus, tag = config.data.validation, config.decoding.tag
    pairs = list(read_corpus(corpus, config.data.languages)) if corpus else []
    sources = [pair.source for pair in pairs]  # of what was prepared, tags are a part
    is_tagged = tags_of_directions(sources) or all(text.startswith(f"{tag} ") for text in sources)
    if not tag or (corpus and corpus.tag) or is_tagged:
        return pairs
    return [tagged(pair, tag) for pair in pairs]


def validate(
    model: Transformer, tokenizer: Tokenizer, pairs: Sequence[SentencePair], config: Config
) -> dict[str, float]:
    """Score a model on held-out pairs: `loss` in nats for each target token, `bleu` and `chrf` from 0 to 100.

    What tags there are, the pairs have already.
    """
    was_training = model.training
    model.eval()
    try:
        translated = pairs[: config.training.validation_sentences or None]
        beam_size = config.training.validation_beam_size
        decoding = replace(
            config.decoding, beam_size=beam_size, n_best=1, sample=False, mbr="off", length_reward=0.0, tag="",
            shortlist=False,  # there is no lexicon yet
            too_long="split",  # one long line is no reason to end a training
        )  # fmt: skip
        if decoding.precision == "int8" and model.positions.device.type != "cpu":
            decoding = replace(decoding, precision="float32")
        translator = Translator(model, tokenizer, decoding, longest=config.data.max_length)
        hypotheses = [translation.text for translation in translator.translate([p.source for p in translated])]
        references = [pair.target for pair in translated]
        language = config.data.target_language
        return {
            "loss": validation_loss(model, tokenizer, pairs, config),
            "bleu": validation_score(hypotheses, references, "bleu", language),
            "chrf": validation_score(hypotheses, references, "chrf", language),
        }
    finally:
        model.train(was_training)


@torch.inference_mode()
def validation_loss(
    model: Transformer, tokenizer: Tokenizer, pairs: Sequence[SentencePair], config: Config
) -> float:
    """Cross entropy in nats for each target token, without label smoothing or the pairs too long for the model."""
    examples = tokenize(pairs, tokenizer)
    lengths = examples.lengths
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= config.model.max_length]
    device = model.positions.device
    criterion = TranslationLoss(model, label_smoothing=0.0).eval()
    total, num_tokens = 0.0, 0
    for part in cut_batches(lengths[order], config.training.batch_tokens):
        batch = make_batch(examples, order[part], tokenizer.pad_id, tokenizer.start_id).to(device)
        total += criterion(batch).plain.item()
        num_tokens += batch.num_target_tokens
    if not num_tokens:
        raise DataError("`data.validation`: all pairs are longer than `model.max_length`; give others, or raise it")
    return total / num_tokens
