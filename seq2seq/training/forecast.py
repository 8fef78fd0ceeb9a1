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
from seq2seq.devices import choose_device
from seq2seq.errors import TrainingError
from seq2seq.memory import peak_memory_mb
from seq2seq.model.lora import add_lora
from seq2seq.model.transformer import Transformer
from seq2seq.training.cpu_processes import num_processes
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Feed, Position
from seq2seq.training.fine_tuning import freeze
from seq2seq.training.steps import Steps

_SECONDS = 12.0  # of steps that are timed
_LEAST_STEPS = 3


class Forecast(NamedTuple):
    """What some steps showed."""

    tokens_per_second: float  # target tokens, padding not counted
    tokens_per_step: float
    peak_memory_mb: float  # of all training processes
    steps: int  # that were done

    def hours_and_tokens(self, training: TrainingConfig) -> tuple[float, float]:
        """How long a training takes to its end, and how many target tokens it sees.

        While the risk is minimised, a token takes about as many times as long as there are candidates.
        """
        risky = 1 - training.risk_from if training.minimum_risk else 0.0  # of the steps, or of the time
        smaller = training.batch_tokens_of_risk / training.batch_tokens
        hours = training.steps * self.tokens_per_step / self.tokens_per_second / 3600
        hours *= 1 - risky + risky * smaller * training.risk_candidates
        if training.max_minutes and training.max_minutes / 60 < hours:
            hours = training.max_minutes / 60
            return hours, 3600 * hours * self.tokens_per_second * (1 - risky + risky / training.risk_candidates)
        return hours, training.steps * self.tokens_per_step * (1 - risky + risky * smaller)


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
                f"a step of training failed, maybe for want of memory ({told}); lower `training.batch_tokens`, and "
                "raise `training.accumulate` by as much"
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
    done: list[tuple[int, float]] = []  # target tokens and seconds of each step
    while len(done) < config.training.steps:
        began = time.perf_counter()
        work = feed.step(position)
        steps.gradients(work)
        steps.learner.update(0.0, config.training.clip_norm)
        position = work.position
        done.append((work.num_target_tokens, time.perf_counter() - began))
        if sum(seconds for _, seconds in done) > _SECONDS * (1 if len(done) >= _LEAST_STEPS else 3):
            break
    if group.is_first:  # training ends with the lexicon, which takes more memory than the steps of a small model
        sizes = config.model.source_vocab_size, config.model.target_vocab_size
        learn_lexicon(feed.sample(), *sizes, tokenizer.joint, config.training.seed)
    tokens, seconds = (sum(each) for each in zip(*(done[1:] or done), strict=True))  # the first one makes much ready
    return Forecast(tokens / seconds, tokens / max(len(done) - 1, 1), peak_memory_mb(), len(done))
