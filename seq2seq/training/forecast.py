"""How fast a training will be, and how much memory it takes: by doing some of its steps."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq.config import Config, TrainingConfig
from seq2seq.data.lexicon import learn_lexicon
from seq2seq.data.token_store import TokenStore
from seq2seq.data.token_writer import open_stores
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.devices import choose_device, memory_mb
from seq2seq.errors import TrainingError
from seq2seq.model.lora import add_lora
from seq2seq.model.transformer import Transformer
from seq2seq.training.cpu_processes import num_processes
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Feed, Position
from seq2seq.training.fine_tuning import freeze
from seq2seq.training.risk import RiskLoss
from seq2seq.training.steps import Steps, less_memory

_SECONDS = 12.0  # of steps that are timed
_LEAST_STEPS = 3


class Forecast(NamedTuple):
    """What some steps showed."""

    tokens_per_second: float  # target tokens, padding not counted
    tokens_per_step: float
    peak_memory_mb: float  # of all training processes
    risk_tokens_per_second: float = 0.0  # while the risk is minimised, if it will be

    def hours_and_tokens(self, training: TrainingConfig) -> tuple[float, float]:
        """How long a training takes to its end, and how many target tokens it sees."""
        risky = 1 - training.risk_from if training.minimum_risk else 0.0  # of the steps, or of the time
        before = training.steps * self.tokens_per_step * (1 - risky)
        after = training.steps * self.tokens_per_step * risky * training.batch_tokens_of_risk / training.batch_tokens
        seconds = before / self.tokens_per_second + (after / self.risk_tokens_per_second if risky else 0.0)
        if training.max_minutes and 60 * training.max_minutes < seconds:
            seconds = 60 * training.max_minutes
            speed = self.tokens_per_second * (1 - risky) + self.risk_tokens_per_second * risky
            return seconds / 3600, seconds * speed
        return seconds / 3600, before + after


class _RiskOfUntrained(RiskLoss):
    """The risk of a model that cannot end a sentence yet: its candidates end where a trained one's do on average."""

    def _longest(self, reference: int) -> int:
        return reference


def forecast(config: Config, tokenizer_folder: str, device: str = "auto") -> Forecast:
    """Do some steps of a training in a process of its own, and throw them away.

    Args:
        config: with the vocabulary sizes filled in; its training corpora are tokenised whole, so give a sample.
        tokenizer_folder: where the tokenizer is.
        device: as in `train`.

    Raises:
        TrainingError: if the process was killed or failed, as it does for want of memory.
    """
    size = num_processes(config.training, choose_device(device))
    groups = [Processes(rank, size, share_batches=size > 1) for rank in range(size)]
    with ProcessPoolExecutor(size, multiprocessing.get_context("spawn")) as pool:
        try:
            # At the same time, each with its part of the batches; they do not wait for each other, which takes little.
            jobs = [pool.submit(_measure, config, tokenizer_folder, device, group) for group in groups]
            found = [job.result() for job in jobs]
        except BrokenProcessPool:
            raise TrainingError("a step of training was killed, maybe for want of memory") from None
        except (MemoryError, RuntimeError) as error:  # torch's errors of memory are of no kind of their own on a CPU
            told = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"a step of training failed, maybe for want of memory ({told}); {less_memory(config.training)}"
            ) from None
    slowest = min(found, key=lambda each: each.tokens_per_second)
    return slowest._replace(peak_memory_mb=sum(each.peak_memory_mb for each in found))


def _measure(config: Config, tokenizer_folder: str, device: str, group: Processes) -> Forecast:
    if group.share_batches:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Tokenizer.load(tokenizer_folder)
        return _measure_with(config, tokenizer, open_stores(config, tokenizer, Path(folder)), device, group)


def _measure_with(
    config: Config, tokenizer: Tokenizer, stores: Sequence[TokenStore], device: str, group: Processes
) -> Forecast:
    chosen = choose_device(device)
    torch.manual_seed(config.training.seed)
    model = Transformer(config.model)
    if config.training.lora_rank:
        add_lora(model, config.training)
    freeze(model, config.training.freeze)
    steps = Steps(model.to(chosen).train(), config.training, chosen, Processes())
    feed, position = Feed(config, tokenizer, group, stores), Position()
    tokens, seconds, done, position = _timed(steps, feed, position, config.training)
    found = Forecast(tokens / seconds, tokens / done, 0.0)  # the memory is known at the end
    if config.training.minimum_risk:
        steps.minimise(_RiskOfUntrained(model, tokenizer, config.training))
        feed.begin_part(is_last=True, minimises_risk=True)
        tokens, seconds, _, _ = _timed(steps, feed, position.next_epoch, config.training)
        found = found._replace(risk_tokens_per_second=tokens / seconds)
    if group.is_first:  # training ends with the lexicon, which takes more memory than the steps of a small model
        sizes = config.model.source_vocab_size, config.model.target_vocab_size
        learn_lexicon(feed.sample(), *sizes, tokenizer.joint, config.training.seed)
    return found._replace(peak_memory_mb=memory_mb(chosen)[0])


def _timed(steps: Steps, feed: Feed, position: Position, training: TrainingConfig) -> tuple[int, float, int, Position]:
    """Do steps, but change nothing: the target tokens and seconds of those that count, their number, what is next."""
    done: list[tuple[int, float]] = []  # target tokens and seconds of each step
    while len(done) < training.steps:
        began = time.perf_counter()
        work = feed.step(position)
        steps.gradients(work)
        float(steps.learner.update(0.0, training.clip_norm))  # waits for a GPU
        position = work.position
        done.append((work.num_target_tokens, time.perf_counter() - began))
        if sum(seconds for _, seconds in done) > _SECONDS * (1 if len(done) >= _LEAST_STEPS else 3):
            break
    counted = done[1:] or done  # the first one makes much ready
    tokens, seconds = (sum(each) for each in zip(*counted, strict=True))
    return tokens, seconds, len(counted), position
