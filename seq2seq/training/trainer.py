"""Training from a config to a run directory: one plain loop."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.checkpoint import best, check_tokenizer, latest, prune, read_info, update_info
from seq2seq.config import Config, resolve_paths, save_config
from seq2seq.data.corpus import SentencePair
from seq2seq.data.lexicon import FILE as LEXICON
from seq2seq.data.lexicon import learn_lexicon
from seq2seq.data.processes import WorkerKilled
from seq2seq.data.token_store import TokenStore
from seq2seq.data.token_writer import open_stores
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.devices import autocast, precision_on
from seq2seq.errors import ConfigError, Interrupted, TrainingError
from seq2seq.files import LOCK, alone_in, empty_directory, remove_leftovers
from seq2seq.model.transformer import Transformer
from seq2seq.telling import say, silent
from seq2seq.training.cpu_processes import all_threads, num_processes, training_processes
from seq2seq.training.distributed import Processes, device_of_process
from seq2seq.training.feed import Feed, Position, StepBatches
from seq2seq.training.fine_tuning import start_from_base
from seq2seq.training.progress import Clock, Journal, Meter, NoJournal, console_line, duration
from seq2seq.training.risk import RiskLoss
from seq2seq.training.schedule import is_in_last_part, learning_rate, minimises_risk
from seq2seq.training.setup import TOKENS, set_up_run
from seq2seq.training.signals import StopRequest
from seq2seq.training.state import TrainState
from seq2seq.training.steps import Steps, less_memory
from seq2seq.training.validation import read_validation_pairs, validate


def train(
    config: Config,
    output: Path | str,
    *,
    model: Transformer | None = None,
    tokenizer: Tokenizer | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train a model; return the run directory, from which `Translator.load` takes the best checkpoint.

    Under `torchrun`, the processes share the work: each step takes `accumulate` micro-batches on each of them.

    Args:
        config: the whole run.
        output: the run directory to make.
        model: one to train instead of a new one; must be built for the config's model and the tokenizer, and be
            trained by one process.
        tokenizer: one to use instead of what the config says.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        resume: go on from the latest checkpoint in `output`, as if there had been no break: on a CPU, with the very
            same weights.
        overwrite: start anew where a run exists.

    Raises:
        ConfigError, DataError, TokenizerError, CheckpointError: if something given does not fit.
        TrainingError: if the run exists already, another process works in it, or the loss is no longer a number.
        Interrupted: after Ctrl-C or SIGTERM, when the state is saved.
    """
    run = Path(output)
    config = resolve_paths(config, Path.cwd())  # as they stand in the run's config.toml, for all processes
    chosen = device_of_process(device)
    # Refuses what the device cannot before anything is written.
    autocast(chosen, precision_on(chosen, config.training.precision))
    if model is not None and config.training.initialise_from:
        raise ConfigError("`training.initialise_from` and a model: training starts from one of them; leave one out")
    if model is not None and config.training.cpu_processes > 1 and chosen.type == "cpu":
        raise ConfigError("`training.cpu_processes` and a model: other processes would not have it; leave one out")
    size = 1 if model is not None else num_processes(config.training, chosen)
    with training_processes(config, run, chosen, size) as group, ExitStack() as until_the_end:
        tell = say if group.is_first else silent
        if group.is_first:
            until_the_end.enter_context(alone_in(run, TrainingError))
        with _unless_it_fails(run, group):
            if group.is_first:
                config, tokenizer = set_up_run(config, run, tokenizer, resume, overwrite, tell)
                for folder in (run, run / "checkpoints"):
                    remove_leftovers(folder)
                stores = open_stores(config, tokenizer, run / TOKENS, tell)
            group.wait()
            if group.most(not (run / "config.toml").exists(), chosen):
                raise TrainingError(f"{run}: not all processes find the run there; all need the same folder")
            if not group.is_first:
                config, tokenizer = set_up_run(config, run, tokenizer, resume=True)
                stores = open_stores(config, tokenizer, run / TOKENS, write=False)
            assert tokenizer is not None
            # From here on, since libraries that load parts of themselves at first use may lose an interrupt.
            stop, listening = StopRequest(tell), until_the_end.enter_context(ExitStack())
            listening.enter_context(stop.awaited())
            torch.manual_seed(config.training.seed)  # of the initial weights
            model = model or Transformer(config.model)
            start_from_base(model, config, run, resumed=latest(run) is not None)
            model = model.to(chosen)
            trainer = _Trainer(config, run, model, tokenizer, chosen, group, stores, stop)
            if group.is_first:
                save_config(config, run / "config.toml")  # now that it is sure that a resumed run can go on with it
        try:
            trainer.loop()
        except torch.OutOfMemoryError:  # of a GPU
            raise TrainingError(
                f"{chosen}: out of memory after step {trainer.state.step}; {less_memory(config.training)} (for "
                f"validations, `decoding.batch_size`), and {_way_on(run)}"
            ) from None
        finally:
            listening.close()
            trainer.journal.close()
        if group.is_first:
            trainer.write_lexicon()
    return run


@contextmanager
def _unless_it_fails(run: Path, group: Processes) -> Iterator[None]:
    """Empty a new run directory if training cannot begin, so that the mended command can be given again.

    One whose text was tokenised, or being so, when it was stopped, lost a process or found the disk full, is kept:
    hours may be in it.
    """
    is_new = group.is_first and {path.name for path in run.iterdir()} <= {LOCK}
    try:
        yield
    except BaseException as error:
        # Errors in settings and text are none of these; RuntimeErrors are torch's, of processes and memory.
        stops = (KeyboardInterrupt, WorkerKilled, RuntimeError, OSError, MemoryError)
        was_stopped = isinstance(error, stops)
        if is_new and not (was_stopped and (run / TOKENS).exists()):
            empty_directory(run)
        raise


class _Trainer:
    """What the loop works with."""

    def __init__(
        self,
        config: Config,
        run: Path,
        model: Transformer,
        tokenizer: Tokenizer,
        device: torch.device,
        group: Processes,
        stores: Sequence[TokenStore],
        stop: StopRequest,
    ) -> None:
        self.config, self.run, self.tokenizer, self.device, self.group = config, run, tokenizer, device, group
        self.stop = stop
        self.tell = say if group.is_first else silent
        self.steps = Steps(model, config.training, device, group)
        self.learner = self.steps.learner
        self.state, seconds = TrainState(), 0.0
        found = latest(run)
        if found is not None:
            check_tokenizer(tokenizer, found)
            self.state, seconds = self.learner.load(found)
            self.state.judge_by(config.training.validation_metric, run)
            self.tell(f"going on from {found}")
        if group.most(self.state.step, device) != -group.most(-self.state.step, device):
            raise TrainingError(f"{run}: processes find different checkpoints there; all need the same folder")
        self.steps.share()
        self.feed = Feed(config, tokenizer, group, stores)
        self._next: tuple[Position, StepBatches] | None = None  # made before it is asked for, and where it begins
        self.held_out: list[SentencePair] = read_validation_pairs(config)
        self.clock = Clock(seconds)
        self.journal = Journal(run, self.state.step) if group.is_first else NoJournal()
        counts = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in self.feed.counts.items() if count)
        size, trained = (
            sum(parameter.numel() for parameter in parameters.values())
            for parameters in (self.learner.parameters, self.learner.trained)
        )
        part = f", {trained:,} of them trained ({trained / size:.1%})" if trained < size else ""
        self.tell(
            f"{len(self.feed):,} training pairs{f' ({counts})' if counts else ''}, {size:,} parameters{part}, on "
            f"{device} in {self.steps.precision}, processes: {group.size}"
        )

    def loop(self) -> None:
        """Train to the last step; validate, report and save on the way."""
        config, state, meter = self.config.training, self.state, Meter()
        model = self.learner.model
        saved, part = state.step, (False, False)  # of the training, as `_part_of_next_step` has it
        if self.group.most(self._lacks_validation(), self.device):
            self._complete_last()
        every = config.checkpoint_every or config.validate_every or config.steps
        model.train()
        self.clock.skip()
        while True:
            seconds = 0.0
            if config.max_minutes:  # by one clock: what ended by time has ended, whichever process saves it
                seconds = self.clock.seconds = self.group.most(self.clock.seconds, self.device)
            if stop := self._reason_to_stop(seconds):
                break
            if (now := self._part_of_next_step(seconds)) != part:
                part = now
                self._begin_part(*part)
            if part != (state.in_last_part, state.minimises_risk):  # also back, if a finished training was made longer
                state.position = state.position.next_epoch
                state.in_last_part, state.minimises_risk = part
            # A generator's state for each step, not one that runs through all: resuming needs none of the past.
            torch.manual_seed(config.seed + (state.step + 1) * self.group.size + self.group.rank)
            work = self._batches(state.position)
            losses = self.steps.gradients(work)
            rate = learning_rate(config, state.step + 1, seconds)
            gradient_norm = self.learner.update(rate, config.clip_norm)
            if self._works_ahead():
                self._next = work.position, self.feed.step(work.position)
            smoothed, plain, norm = self._finite(losses, gradient_norm)
            state.step += 1
            state.position = work.position
            state.target_tokens_seen += work.num_target_tokens
            meter.add(smoothed, plain, work.num_target_tokens, self.clock.lap())
            if state.step % config.log_every == 0 or state.step == config.steps:
                self._report(meter, rate, norm)
                meter.reset()
            due = self._is_to_be_validated()
            if due or state.step % every == 0:  # what is validated may be the best
                self._save(interrupted=due)
                saved = state.step
            if due:
                self._complete_last()
            model.train()
            self.clock.skip()
        if saved != state.step:
            self._save(interrupted=True)
        if stop != "interrupted":
            self._complete_last()
        self._say_end(stop)

    def write_lexicon(self) -> None:
        """Write what shortlists are made of, unless an earlier training of the run has."""
        if not (self.run / LEXICON).exists():
            model = self.config.model
            sizes = model.source_vocab_size, model.target_vocab_size
            learn_lexicon(self.feed.sample(), *sizes, self.tokenizer.joint, self.config.training.seed).save(self.run)

    def _part_of_next_step(self, seconds: float) -> tuple[bool, bool]:
        """Whether it has the last weights of corpora, and whether it minimises the risk."""
        config, step = self.config.training, self.state.step + 1
        has_weights = bool(self.config.data.last_weights)
        return has_weights and is_in_last_part(config, step, seconds), minimises_risk(config, step, seconds)

    def _begin_part(self, is_last: bool, risky: bool) -> None:
        """Have the batches of a part of training from the next step on, and minimise the risk if it does so."""
        data, state, changes = self.config.data, self.state, []
        if risky and not state.minimises_risk:
            changes.append("training minimises the risk")
        if is_last and not state.in_last_part and not (risky and data.risk_weights):
            changes.append(f"corpora have the weights {list(data.last_weights)}")
        for change in changes:  # none if training goes on within a part
            self.tell(f"from step {state.step + 1:,} on, {change}")
        if risky:
            self.steps.minimise(RiskLoss(self.learner.model, self.tokenizer, self.config.training))
        self.feed.begin_part(is_last, risky)
        self._next = None

    def _batches(self, position: Position) -> StepBatches:
        """Those of the step that begins at a position; maybe made already."""
        made, self._next = self._next, None
        return made[1] if made and made[0] == position else self.feed.step(position)

    def _works_ahead(self) -> bool:
        """Whether the next step's batches are made while this one is computed, which a CPU has no gain from."""
        return self.device.type == "cuda"

    def _finite(self, losses: Tensor, norm: Tensor) -> tuple[float, float, float]:
        """The summed losses of a step and the norm of its gradient, read once all is computed.

        Raises:
            TrainingError: if they are no numbers, before the weights, which these have spoilt, are saved.
        """
        smoothed, plain = losses.tolist()
        if not math.isfinite(smoothed):
            raise self._diverged("loss")
        if not math.isfinite(norm) and not self.learner.scaler.is_enabled():  # which leaves such updates out
            raise self._diverged("gradient")
        return smoothed, plain, float(norm)

    def _diverged(self, what: str) -> TrainingError:
        remedy = "lower training.learning_rate, or lengthen training.warmup_steps"
        if self.state.minimises_risk:  # which has a rate of its own
            remedy = "lower training.risk_learning_rate, or training.minimum_risk"
        return TrainingError(
            f"the {what} is not a number after step {self.state.step}; {remedy}, then {_way_on(self.run)}"
        )

    def _reason_to_stop(self, seconds: float) -> str:
        config, state = self.config.training, self.state
        if state.step >= config.steps:
            return "done"
        if config.max_minutes and seconds >= 60 * config.max_minutes:
            return f"stopped after training.max_minutes = {config.max_minutes:g}"
        if config.patience and state.validations_since_best >= config.patience:
            return f"stopped early: no better validation in {config.patience}"
        # All processes must leave the loop at the same step.
        return "interrupted" if self.group.most(self.stop.was_made, self.device) else ""

    def _report(self, meter: Meter, rate: float, norm: float) -> None:
        config, step = self.config.training, self.state.step
        # JSON has neither infinity nor NaN; float16 meets both while it finds its scale.
        norm = norm if math.isfinite(norm) else sys.float_info.max
        record = {"step": step, **meter.report(), "learning_rate": rate, "gradient_norm": norm}
        left = (config.steps - step) / record.pop("steps_per_second")
        if config.max_minutes:
            left = min(left, 60 * config.max_minutes - self.clock.seconds)
        self.tell(console_line(record, config.steps, self.state.position.epoch, max(0.0, left)))
        record["epoch"] = self.state.position.epoch
        record["target_tokens_seen"] = self.state.target_tokens_seen
        record["training_seconds"] = round(self.clock.seconds, 3)
        self.journal.write(record)

    def _validate(self) -> Mapping[str, float] | None:
        """Scores of the weights that would be saved now, found by the first process; None without a corpus."""
        if not self.held_out:
            return None
        metrics = ("loss", "bleu", "chrf")
        values = torch.zeros(3, device=self.device)
        if self.group.is_first:
            with self.learner.averaged_weights(), all_threads(self.group):
                scores = validate(self.learner.model, self.tokenizer, self.held_out, self.config)
            values += torch.tensor([scores[metric] for metric in metrics], device=self.device)
        scores = dict(zip(metrics, self.group.sum(values).tolist(), strict=True))
        is_best = self.state.note_validation(scores, self.config.training.validation_metric)
        self.tell(
            f"validation at step {self.state.step:,} | loss {scores['loss']:.3f} | "
            f"ppl {math.exp(min(scores['loss'], 100)):.2f} | BLEU {scores['bleu']:.2f} | "
            f"chrF {scores['chrf']:.2f}{' | best so far' if is_best else ''}"
        )
        record = {f"validation_{metric}": value for metric, value in scores.items()}
        self.journal.write({"step": self.state.step, "training_seconds": round(self.clock.seconds, 3), **record})
        return scores

    def _save(self, interrupted: bool) -> None:
        """Write a checkpoint; interrupted: it is none of those that are due, or is to be validated first."""
        if self.group.is_first and self.state.step:
            self.learner.save(self.run, self.state, self.tokenizer.hash, self.clock.seconds, interrupted)
            self._prune()
        self.group.wait()

    def _prune(self) -> None:
        prune(self.run, self.config.training.keep_checkpoints, self.config.training.validation_metric)

    def _is_to_be_validated(self) -> bool:
        every = self.config.training.validate_every
        return bool(self.held_out) and every > 0 and self.state.step % every == 0

    def _lacks_validation(self) -> bool:
        """Whether training resumes from a checkpoint whose validation was due, and had no end."""
        found = latest(self.run)
        if found is None or not self._is_to_be_validated():
            return False
        info = read_info(found)
        return info.interrupted and info.validation is None

    def _complete_last(self) -> None:
        """Validate the last checkpoint if it was saved without: as one that was due, or by an interruption.

        It is saved before, so a validation that fails, or is killed, costs no step.

        Raises:
            Interrupted: if it failed since a signal that is to end training has ended processes that translated.
        """
        if not self.state.step:  # nothing was saved
            return
        # The first process looks, for all: a shared disk may show the others a checkpoint late.
        found = latest(self.run) if self.group.is_first else None
        info = read_info(found) if found else None
        scores = info.validation if info else None
        lacks = info is not None and scores is None
        if self.config.training.validate_every and self.group.most(lacks, self.device):
            try:
                scores = self._validate()
            except Exception:
                if self.stop.was_made and self.device.type == "cpu":  # on GPUs, others may wait: this process is ended
                    raise self._interrupted() from None
                raise
        if found and info and (scores != info.validation or info.interrupted):
            counts = {name: getattr(self.state, name) for name in ("best_score", "validations_since_best")}
            update_info(found, validation=scores, interrupted=False, **counts)
            self._prune()
        self.group.wait()

    def _say_end(self, stop: str) -> None:
        trained = f"{self.state.step:,} steps in {duration(self.clock.seconds)} of training"
        # One that came in the last validation was too late to stop this training; what follows it is not to begin.
        if stop == "interrupted" or self.group.most(self.stop.was_made, self.device):
            raise self._interrupted()
        found = best(self.run, self.config.training.validation_metric)
        self.tell(f"{stop}: {trained}; best checkpoint: {found}")

    def _interrupted(self) -> Interrupted:
        where = f"at step {self.state.step:,}, and saved" if self.state.step else "before the first step"
        return Interrupted(f"stopped {where}; the same command with --resume (in place of --overwrite) goes on")


def _way_on(run: Path) -> str:
    """What to do with a training that failed, once its settings are mended."""
    return "go on from the last checkpoint with --resume" if latest(run) else "start anew with --overwrite"
