"""The loop: when it stops, what it saves, and what it says when the loss is lost."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.checkpoint import best, checkpoints, latest, load_model, read_info, read_weights, resolve, update_info
from seq2seq.config import (
    Config,
    CorpusConfig,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    TokenizerConfig,
    TrainingConfig,
    load_config,
    save_config,
)
from seq2seq.data import token_writer
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.data.processes import WorkerKilled
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.translator import Translator
from seq2seq.errors import ConfigError, DataError, DecodingError, Interrupted, TokenizerError, TrainingError
from seq2seq.model.transformer import Transformer
from seq2seq.training import trainer
from seq2seq.training.feed import StepBatches
from seq2seq.training.steps import Steps
from seq2seq.training.trainer import train
from seq2seq.training.validation import read_validation_pairs, validate
from tests.marian_models import write_tokenizer
from tests.other_process import working_in

LINES = [f"{'one two ' * (i % 4)}{i} three" for i in range(40)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("train", "validation"):
        for side in ("a", "b"):
            lines = LINES if name == "train" else LINES[:5]
            (tmp_path / f"{name}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    corpus, validation = (
        CorpusConfig(source=str(tmp_path / f"{name}.a"), target=str(tmp_path / f"{name}.b"))
        for name in ("train", "validation")
    )
    return Config(
        data=DataConfig(train=(corpus,), validation=validation),
        tokenizer=TokenizerConfig(algorithm="bpe", vocab_size=290),
        model=ModelConfig(encoder_layers=1, decoder_layers=1, d_model=16, d_ff=16, num_heads=2),
        training=TrainingConfig(
            steps=6, batch_tokens=128, warmup_steps=2, learning_rate=0.01, log_every=2, validate_every=2
        ),
    )


def with_training(config: Config, **changes: object) -> Config:
    return replace(config, training=replace(config.training, **changes))


def test_a_run_has_all_that_belongs_to_it(config: Config, tmp_path: Path, capsys) -> None:
    run = train(config, tmp_path / "run", device="cpu")
    assert [read_info(folder).step for folder in checkpoints(run)] == [2, 4, 6]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"step", "loss", "tokens_per_second", "learning_rate", "gradient_norm"} <= records[0].keys()
    assert {"step", "validation_bleu", "validation_chrf", "validation_loss"} <= records[1].keys()
    assert best(run, "bleu") is not None
    output = capsys.readouterr()
    assert output.out == ""
    assert "step 2/6" in output.err
    assert load_model(run).config.model.source_vocab_size == 290


def test_loss_falls_and_the_seed_decides_all(config: Config, tmp_path: Path) -> None:
    longer = with_training(config, steps=40, log_every=10, validate_every=0)
    runs = [train(longer, tmp_path / name, device="cpu") for name in ("one", "two")]
    other = train(with_training(longer, seed=2), tmp_path / "other", device="cpu")
    weights = [(run / "checkpoints/step_00000040/model.safetensors").read_bytes() for run in (*runs, other)]
    assert weights[0] == weights[1] != weights[2]
    losses = [json.loads(line)["loss"] for line in (runs[0] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert losses[-1] < losses[0] - 0.5


def test_patience_ends_training(config: Config, tmp_path: Path) -> None:
    still = with_training(config, steps=1000, learning_rate=0.0, patience=2, validation_metric="loss")
    run = train(still, tmp_path / "run", device="cpu")
    assert read_info(checkpoints(run)[-1]).step == 6  # the best at 2, then two without improvement


def test_time_limit_ends_training_and_saves(config: Config, tmp_path: Path) -> None:
    limited = with_training(
        config, steps=10**6, max_minutes=0.01, validate_every=0, warmup_steps=0, schedule="cosine", log_every=1
    )
    run = train(limited, tmp_path / "run", device="cpu")
    assert len(checkpoints(run)) == 1
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert records[-1]["learning_rate"] < 0.5 * records[0]["learning_rate"]  # the schedule ends with the time


def test_a_lost_loss_is_told_and_not_saved(config: Config, tmp_path: Path) -> None:
    size = 290
    model = Transformer(replace(config.model, source_vocab_size=size, target_vocab_size=size))
    torch.nn.init.constant_(model.target_embedding.weight, float("nan"))
    with pytest.raises(TrainingError, match=r"not a number.*learning_rate"):
        train(config, tmp_path / "run", model=model, device="cpu")
    assert checkpoints(tmp_path / "run") == []


def test_want_of_memory_is_told_with_what_to_do(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(steps: Steps, work: StepBatches) -> tuple[float, float]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(Steps, "gradients", gradients)
    with pytest.raises(TrainingError, match=r"out of memory after step 0; lower `training.batch_tokens`.*--overwrite"):
        train(config, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("failing", "signalled", "processes"),  # one in the middle, and the last one
    [(failing, *how) for failing in (2, 5) for how in ((False, 1), (True, 1), (True, 2))],
)
def test_a_validation_that_fails_loses_no_step_and_is_made_up_for(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: bool, processes: int, failing: int
) -> None:
    config = with_training(config, steps=5, checkpoint_every=100, cpu_processes=processes)
    whole = train(config, tmp_path / "whole", device="cpu")
    validations = iter(range(2, 7, 2))

    def fail(*arguments: Any) -> dict[str, float]:
        if next(validations) < failing:
            return validate(*arguments)
        assert read_info(latest(tmp_path / "run")).step == failing, "a kill costs no step either"
        if signalled:  # it has ended the processes that translate, too
            signal.raise_signal(signal.SIGTERM)
        raise DecodingError("a worker process was killed")

    with monkeypatch.context() as patched:
        patched.setattr("seq2seq.training.trainer.validate", fail)
        error = Interrupted if signalled else DecodingError
        with pytest.raises(error, match=f"stopped at step {failing}, and saved" if signalled else "was killed"):
            train(config, tmp_path / "run", device="cpu")
    assert read_info(latest(tmp_path / "run")).step == failing
    run = train(config, tmp_path / "run", device="cpu", resume=True)
    assert [each.name for each in checkpoints(run)] == [each.name for each in checkpoints(whole)]
    for ours, theirs in zip(checkpoints(run), checkpoints(whole), strict=True):
        assert replace(read_info(ours), training_seconds=0.0) == replace(read_info(theirs), training_seconds=0.0)
        weights = read_weights(ours)
        assert all(torch.equal(weights[name], tensor) for name, tensor in read_weights(theirs).items())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_in_the_last_validation_is_heeded_after_it(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    config = with_training(config, steps=4, validate_every=4, cpu_processes=processes)

    def signalled(*arguments: Any) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return validate(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="stopped at step 4, and saved"):
        patched.setattr("seq2seq.training.trainer.validate", signalled)
        train(config, tmp_path / "run", device="cpu")
    info = read_info(latest(tmp_path / "run"))
    assert info.validation and not info.interrupted
    train(config, tmp_path / "run", device="cpu", resume=True)


def test_a_signal_before_the_first_step_stops_before_it(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Steps.__init__

    def signalled(self: Steps, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        begin(self, *arguments)

    whole, before = train(config, tmp_path / "whole", device="cpu"), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(Steps, "__init__", signalled)
        with pytest.raises(Interrupted, match="stopped before the first step; the same command with --resume"):
            train(config, tmp_path / "run", device="cpu")
    assert not checkpoints(tmp_path / "run") and signal.getsignal(signal.SIGTERM) is before
    run = train(config, tmp_path / "run", device="cpu", resume=True)
    ours, theirs = (read_weights(latest(each)) for each in (run, whole))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_an_interruption_where_nothing_validates_stays_one(config: Config, tmp_path: Path) -> None:
    alone = replace(config, data=replace(config.data, validation=None))
    run = train(with_training(alone, steps=4, checkpoint_every=3), tmp_path / "run", device="cpu")
    update_info(latest(run), interrupted=True)  # as Ctrl-C after step 4 would
    train(with_training(alone, steps=9, checkpoint_every=3, keep_checkpoints=2), run, device="cpu", resume=True)
    assert [read_info(folder).step for folder in checkpoints(run)] == [6, 9]


def test_without_validation_the_newest_is_best(config: Config, tmp_path: Path) -> None:
    alone = replace(config, data=replace(config.data, validation=None))
    run = train(alone, tmp_path / "run", device="cpu")
    assert read_info(best(run, "bleu")).step == 6


def test_no_corpus_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train"):
        train(Config(), tmp_path / "run", device="cpu")


def test_moving_average_and_bfloat16_and_accumulation_train(config: Config, tmp_path: Path) -> None:
    changed = with_training(config, ema_decay=0.9, precision="bfloat16", accumulate=2, subword_sampling=0.1)
    run = train(changed, tmp_path / "run", device="cpu")
    assert read_info(checkpoints(run)[-1]).step == 6


@pytest.mark.parametrize(
    "change",
    [
        {"r_drop": 5.0}, {"layer_drop": 0.9}, {"source_word_dropout": 0.5}, {"target_word_dropout": 0.5},
        {"label_smoothing": 0.0}, {"precision": "bfloat16"}, {"adam_betas": (0.5, 0.5)}, {"adam_epsilon": 0.01},
        {"weight_decay": 0.5}, {"clip_norm": 0.0}, {"accumulate": 2}, {"optimizer": "muon"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_setting_has_an_effect(config: Config, tmp_path: Path, change: dict[str, object]) -> None:
    deep = with_training(
        replace(config, model=replace(config.model, encoder_layers=3)), steps=2, validate_every=0, clip_norm=0.01
    )
    runs = [train(with_training(deep, **each), tmp_path / str(len(each)), device="cpu") for each in ({}, change)]
    one, other = ((run / "checkpoints/step_00000002/model.safetensors").read_bytes() for run in runs)
    assert one != other


def test_what_is_validated_is_what_is_saved(config: Config, tmp_path: Path) -> None:
    for folder in checkpoints(train(with_training(config, ema_decay=0.9), tmp_path / "run", device="cpu")):
        loaded = load_model(folder)
        found = validate(loaded.model, loaded.tokenizer, read_validation_pairs(loaded.config), loaded.config)
        assert read_info(folder).validation["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_r_drop_trains_and_its_loss_is_comparable(config: Config, tmp_path: Path) -> None:
    one_step = with_training(config, steps=1, log_every=1, validate_every=0)
    runs = [train(with_training(one_step, r_drop=r), tmp_path / f"{r}", device="cpu") for r in (0.0, 100.0)]
    records = [json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]) for run in runs]
    for name in ("loss", "perplexity"):
        assert records[1][name] == pytest.approx(records[0][name], rel=0.1)
    assert records[1]["target_tokens_seen"] == records[0]["target_tokens_seen"]


# Before the break, which is after step 2, and after it.
@pytest.mark.parametrize("last_from", [1.0, 0.2, 0.7])
@pytest.mark.parametrize(("risk_from", "risk_batch_tokens"), [(0.0, 0), (0.1, 40), (0.6, 40)])
def test_what_is_dropped_at_random_is_the_same_after_resuming(
    config: Config,
    tmp_path: Path,
    risk_from: float,
    risk_batch_tokens: int,
    last_from: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    risk = {"minimum_risk": 0.5, "risk_from": risk_from, "risk_candidates": 3, "risk_batch_tokens": risk_batch_tokens}
    if last_from < 1:
        train_twice = (*config.data.train, replace(config.data.train[0], weight=0.5))
        data = replace(config.data, train=train_twice, last_weights=(1.0, 0.0))
        config = replace(config, data=data, training=replace(config.training, last_from=last_from))
    drops = risk | {"layer_drop": 0.5, "source_word_dropout": 0.1, "target_word_dropout": 0.1, "r_drop": 1.0}
    deep = replace(config, model=replace(config.model, encoder_layers=3, decoder_layers=2))
    run, broken = (tmp_path / name for name in ("run", "broken"))
    train(with_training(deep, **drops), run, device="cpu")
    gradients = Steps.gradients

    def broken_off(steps: Steps, work: StepBatches) -> tuple[float, float]:
        if (broken / "checkpoints" / "step_00000002").exists():
            raise KeyboardInterrupt
        return gradients(steps, work)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Steps, "gradients", broken_off)
        train(with_training(deep, **drops), broken, device="cpu")
    train(with_training(deep, **drops), broken, device="cpu", resume=True)
    for name in ("model.safetensors", "training.safetensors"):
        one, other = (folder / "checkpoints" / "step_00000006" / name for folder in (run, broken))
        assert one.read_bytes() == other.read_bytes()


def test_the_risk_is_minimised_from_a_share_of_the_steps_on(config: Config, tmp_path: Path, capsys) -> None:
    risk = {"minimum_risk": 0.9, "risk_from": 0.5, "risk_candidates": 3}
    sampled = with_training(config, subword_sampling=0.1)
    runs = [train(with_training(sampled, **each), tmp_path / f"{len(each)}", device="cpu") for each in (risk, {})]
    assert "from step 4 on, training minimises the risk" in capsys.readouterr().err
    parts = replace(config.training, last_from=0.7, **risk)
    both = replace(config, data=replace(config.data, last_weights=(1.0,)), training=parts)
    train(both, tmp_path / "both", device="cpu")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("from step")]
    assert told == ["from step 4 on, training minimises the risk", "from step 6 on, corpora have the weights [1.0]"]
    one, other = ([p.read_bytes() for p in sorted(run.glob("checkpoints/*/model.safetensors"))] for run in runs)
    assert [first == second for first, second in zip(one, other, strict=True)] == [True, False, False]


def test_batches_have_another_size_while_the_risk_is_minimised(config: Config, tmp_path: Path) -> None:
    risk = {"minimum_risk": 0.9, "risk_from": 0.5, "risk_candidates": 2, "risk_batch_tokens": 40, "log_every": 1}
    run = train(with_training(config, steps=6, **risk), tmp_path / "run", device="cpu")
    assert [tokens <= 40 for tokens in tokens_of_steps(run)] == [False] * 3 + [True] * 3
    info = read_info(checkpoints(run)[-1])
    assert (info.epoch, info.batches_in_epoch, info.minimises_risk) == (1, 3, True), "it begins with an epoch"
    # Made longer, training goes on with the batches and the loss of before, and ends with the others again.
    train(with_training(config, steps=16, **risk), run, device="cpu", resume=True)
    assert [tokens <= 40 for tokens in tokens_of_steps(run)][6:] == [False] * 2 + [True] * 8
    info = read_info(checkpoints(run)[-1])
    assert (info.epoch, info.batches_in_epoch, info.minimises_risk) == (3, 8, True)


def test_the_last_part_is_of_the_corpora_that_have_weights_then(config: Config, tmp_path: Path, capsys) -> None:
    other = replace(config.data.train[0], source=config.data.train[0].target, target=config.data.train[0].source)
    data = replace(config.data, train=(*config.data.train, other), last_weights=(1.0, 0.0))
    settings = {"steps": 8, "last_from": 0.5, "log_every": 1}
    longer = replace(config, data=data, training=replace(config.training, **settings))
    run = train(longer, tmp_path / "run", device="cpu")
    assert "from step 5 on, corpora have the weights [1.0, 0.0]" in capsys.readouterr().err
    info = read_info(checkpoints(run)[-1])
    assert (info.epoch, info.batches_in_epoch, info.in_last_part) == (2, 1, True), "after an epoch of the one alone"
    train(with_training(longer, steps=9), run, device="cpu", resume=True)
    assert "corpora have the weights" not in capsys.readouterr().err, "it was told when it began"
    # Made longer, it goes on with both corpora, and ends with the one again.
    train(with_training(longer, steps=20), run, device="cpu", resume=True)
    assert "from step 11 on, corpora have the weights" in capsys.readouterr().err
    assert read_info(checkpoints(run)[-1]).in_last_part


def tokens_of_steps(run: Path) -> list[int]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = [record["target_tokens_seen"] for record in records if "target_tokens_seen" in record]
    return [after - before for before, after in pairwise([0, *seen])]


def test_validation_is_of_the_search_that_it_says(config: Config, tmp_path: Path) -> None:
    found = []
    for reward in (0.0, 9.0):
        changed = replace(config, decoding=DecodingConfig(length_reward=reward))
        run = train(changed, tmp_path / f"{reward}", device="cpu")
        found.append([read_info(folder).validation for folder in checkpoints(run)])
    assert found[0] == found[1] and found[0][0]


@pytest.mark.parametrize("initialisation", ["glorot", "depth_scaled"])
def test_a_deep_encoder_and_a_shallow_decoder_train_and_translate(
    config: Config, tmp_path: Path, initialisation: str
) -> None:
    """12 + 1 layers (Kasai et al. 2021)."""
    sizes = {"encoder_layers": 12, "decoder_layers": 1, "norm": "post", "initialisation": initialisation}
    deep = replace(config, model=replace(config.model, **sizes), data=replace(config.data, validation=None))
    learning = {"steps": 30, "log_every": 10, "validate_every": 0, "learning_rate": 0.003, "warmup_steps": 10}
    run = train(with_training(deep, **learning, layer_drop=0.1), tmp_path / "run", device="cpu")
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert losses[-1] < losses[0] - 0.3
    assert len(Translator.load(run, "cpu").translate(["one two 3", "4 three"])) == 2


def test_float16_needs_a_gpu(config: Config, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="float16"):
            train(with_training(config, precision="float16"), tmp_path / "run", device="cpu")


def test_what_was_validated_is_saved(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, steps=7, validate_every=2, checkpoint_every=3), tmp_path / "run", device="cpu")
    infos = {info.step: info for info in map(read_info, checkpoints(run))}
    assert {2, 4, 6, 7} <= infos.keys()
    assert infos[2].validation and infos[4].validation


def test_the_last_checkpoint_is_validated_though_it_was_saved_before(config: Config, tmp_path: Path) -> None:
    shifted = with_training(config, steps=6, validate_every=4, checkpoint_every=3)
    run = train(shifted, tmp_path / "run", device="cpu")
    assert [(info.step, bool(info.validation)) for info in map(read_info, checkpoints(run))] == [
        (3, False), (4, True), (6, True),
    ]  # fmt: skip
    before = read_info(checkpoints(run)[-1])
    train(shifted, run, device="cpu", resume=True)  # which is done
    assert read_info(checkpoints(run)[-1]) == before


def test_a_checkpoint_that_an_interruption_made_at_the_end_is_completed(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, validate_every=0), tmp_path / "run", device="cpu")
    update_info(checkpoints(run)[-1], interrupted=True)
    train(config, run, device="cpu", resume=True)
    last = read_info(checkpoints(run)[-1])
    assert last.step == 6 and last.validation and not last.interrupted and last.best_score is not None


def test_weights_that_a_gradient_has_spoilt_are_not_saved(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients, calls = Steps.gradients, 0

    def spoil(self: Steps, work: StepBatches) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        found = gradients(self, work)
        if calls == 4:
            next(iter(self.learner.trained.values())).grad[0] = float("inf")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "gradients", spoil)
        with pytest.raises(TrainingError, match=r"gradient is not a number after step 3; lower training.learning_rate"):
            train(config, tmp_path / "run", device="cpu")
        calls = 0
        risk = with_training(config, minimum_risk=0.9, risk_from=0.5, risk_candidates=2)
        with pytest.raises(TrainingError, match=r"after step 3; lower training.risk_learning_rate, or"):
            train(risk, tmp_path / "risk", device="cpu")
    assert [read_info(folder).step for folder in checkpoints(tmp_path / "run")] == [2]
    train(config, tmp_path / "run", device="cpu", resume=True)
    assert read_info(latest(tmp_path / "run")).step == 6


def test_a_line_too_long_to_translate_does_not_end_training(config: Config, tmp_path: Path) -> None:
    long = tmp_path / "validation.a"
    long.write_text(long.read_text(encoding="utf-8").replace("one", "one " * 60), encoding="utf-8")
    model = replace(config.model, max_length=32)
    data, decoding = replace(config.data, max_length=32), replace(config.decoding, too_long="refuse")
    run = train(replace(config, model=model, data=data, decoding=decoding), tmp_path / "run", device="cpu")
    assert read_info(latest(run)).validation


def test_patience_without_validation_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.patience"):
        with_training(config, patience=1, validate_every=0)
    data = replace(config.data, last_weights=(1.0,))
    last = replace(config, data=data, training=replace(config.training, patience=3, last_from=0.8))
    with pytest.raises(ConfigError, match=r"`training.patience` = 3: might end training before its last part"):
        train(last, tmp_path / "run", device="cpu")
    alone = with_training(replace(config, data=replace(config.data, validation=None)), patience=1)
    with pytest.raises(ConfigError, match=r"training\.patience"):
        train(alone, tmp_path / "run", device="cpu")


def test_resuming_says_that_the_text_is_another(config: Config, tmp_path: Path, capsys) -> None:
    run = train(config, tmp_path / "run", device="cpu")
    train(with_training(config, steps=7), run, device="cpu", resume=True)
    assert "changed since it was tokenised" not in capsys.readouterr().err
    (tmp_path / "train.a").write_text("".join(f"{line}\n" for line in LINES[::-1]), encoding="utf-8")
    train(with_training(config, steps=8), run, device="cpu", resume=True)
    assert f"changed since it was tokenised: {tmp_path / 'train.a'}" in capsys.readouterr().err


def test_overwriting_that_cannot_begin_leaves_the_old_run(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", device="cpu")
    for wrong in ({"vocab_size": 100_000}, {"path": str(tmp_path / "nowhere")}):
        changed = replace(config, tokenizer=replace(config.tokenizer, **wrong))
        with pytest.raises(TokenizerError):
            train(changed, run, device="cpu", overwrite=True)
        assert load_model(run).checkpoint.exists()
    files = sorted(path.relative_to(run) for path in run.rglob("*"))
    with pytest.raises(DataError, match="no usable pair"):
        train(replace(config, data=replace(config.data, max_length=2)), run, device="cpu", overwrite=True)
    # The second corpus alone would be trained on, and it has no pair that is short enough.
    (tmp_path / "long").write_text("one two three 4 5 six seven 8 9 10\n" * 3, encoding="utf-8")
    long = replace(config.data.train[0], source=str(tmp_path / "long"), target=str(tmp_path / "long"))
    data = replace(config.data, train=(*config.data.train, long), last_weights=(0.0, 1.0), max_length=12)
    with pytest.raises(DataError, match=r"`data.last_weights` = \[0.0, 1.0\]: no usable pair of the corpora that it"):
        late = replace(config.training, last_from=0.5)
        train(replace(config, data=data, training=late), run, device="cpu", overwrite=True)
    # The first corpus has enough pairs for its weight, and not enough short ones.
    lengths = sorted(map(len, Tokenizer.load(run / "tokenizer").encode_source(LINES)))
    few = replace(config.data.train[0], weight=0.6 / len(LINES))
    shorter = replace(config.data, train=(few,), max_length=lengths[len(LINES) // 4 - 1])
    with pytest.raises(DataError, match=r"`data.train.weight` = .*take none of the corpora's"):
        train(replace(config, data=shorter), run, device="cpu", overwrite=True)
    start = write_tokenizer(tmp_path / "marian", algorithm="bpe")["decoder_vocab_size"] - 1
    marian = MarianTokenizer({path.name: path.read_bytes() for path in (tmp_path / "marian").iterdir()}, start_id=start)
    with pytest.raises(TokenizerError, match=r"`training.subword_sampling` = 0.1: this Marian tokenizer"):
        train(with_training(config, subword_sampling=0.1), run, tokenizer=marian, device="cpu", overwrite=True)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == files
    train(with_training(config, steps=3, validate_every=0), run, device="cpu", overwrite=True)
    assert [read_info(folder).step for folder in checkpoints(run)] == [3]


def test_overwriting_begins_anew_where_checkpoints_lie_elsewhere(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", device="cpu")
    (run / "checkpoints").rename(tmp_path / "disk")
    (run / "checkpoints").symlink_to(tmp_path / "disk")
    train(with_training(config, steps=3, validate_every=0), run, device="cpu", overwrite=True)
    assert [read_info(folder).step for folder in checkpoints(run)] == [3]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["step_00000003"]
    named = run / "checkpoints" / "step_00000003"
    assert resolve(run) == resolve(named) == (run, named)


@pytest.mark.parametrize("risk", [0.0, 10.0])
def test_batches_that_are_made_ahead_are_the_same(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, risk: float
) -> None:
    """As a GPU has them; and where they are others from a step on, those that were made are not taken."""
    longer = with_training(config, steps=12, minimum_risk=risk, risk_from=0.5, risk_candidates=2)
    weights = []
    for ahead in (False, True):
        monkeypatch.setattr(trainer._Trainer, "_works_ahead", lambda self, ahead=ahead: ahead)
        run = train(longer, tmp_path / f"run{ahead}", device="cpu")
        weights.append((run / "checkpoints/step_00000012/model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("impatient")
def test_a_folder_in_which_another_process_works_is_left_alone(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, steps=2), tmp_path / "run", device="cpu")
    before = sorted(run.rglob("*"))
    with working_in(run):
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(TrainingError, match="run: another process is at work there; wait until it has ended"):
                train(with_training(config, steps=3), run, device="cpu", **how)
    assert sorted(run.rglob("*")) == before
    train(with_training(config, steps=3), run, device="cpu", resume=True)


@pytest.mark.parametrize("name", ["config.toml", "base/mine", "tokens/mine", "checkpoints/mine", "tokenizer/mine"])
def test_what_no_run_has_made_is_not_replaced(config: Config, tmp_path: Path, name: str) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(TrainingError, match=r"run/\S+: exists already, belongs to no run"):
            train(config, tmp_path / "run", device="cpu", **how)
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [file] and file.read_text() == "mine"


def test_checkpoints_without_a_config_are_not_removed(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, steps=2), tmp_path / "run", device="cpu")
    (run / "config.toml").unlink()
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(TrainingError, match=r"config\.toml: missing beside checkpoints; put it back"):
            train(config, run, device="cpu", **how)
    assert latest(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(TrainingError, match="exists already, belongs to no run"):  # the metrics of something else
        train(config, run, device="cpu")


def test_corpora_that_lie_where_training_writes_are_not_removed(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, steps=2), tmp_path / "run", device="cpu")
    for name in ("train.a", "train.b"):
        shutil.copy(tmp_path / name, run / "tokens" / name)
    corpus = CorpusConfig(source=str(run / "tokens/train.a"), target=str(run / "tokens/train.b"))
    with pytest.raises(DataError, match=r"tokens/train\.a: lies where training puts its own files; move it"):
        train(replace(config, data=replace(config.data, train=(corpus,))), run, device="cpu", overwrite=True)
    assert (run / "tokens/train.a").exists() and latest(run)


def test_a_training_that_was_killed_while_it_was_set_up_is_made_anew(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run" / "tokenizer").mkdir(parents=True)
    (tmp_path / "run" / "tokenizer" / "half").touch()
    (tmp_path / "run" / "metrics.jsonl").touch()
    run = train(with_training(config, steps=2), tmp_path / "run", device="cpu")
    assert latest(run) and not (run / "tokenizer" / "half").exists()


def test_the_tokenizer_of_another_run_is_not_replaced(config: Config, tmp_path: Path) -> None:
    first, second = (train(with_training(config, steps=2), tmp_path / name, device="cpu") for name in ("a", "b"))
    shutil.rmtree(second / "tokenizer")
    (second / "tokenizer").symlink_to(first / "tokenizer")
    smaller = replace(config, tokenizer=replace(config.tokenizer, vocab_size=280))
    train(with_training(smaller, steps=2), second, device="cpu", overwrite=True)
    assert [load_model(each).tokenizer.target_vocab_size for each in (first, second)] == [290, 280]


def test_resuming_with_larger_batches_goes_on_with_the_next_epoch(config: Config, tmp_path: Path) -> None:
    run = train(with_training(config, steps=5), tmp_path / "run", device="cpu")
    train(with_training(config, steps=8, batch_tokens=4096), run, device="cpu", resume=True)
    assert read_info(checkpoints(run)[-1]).step == 8


@pytest.mark.parametrize("stop", [KeyboardInterrupt, WorkerKilled, OSError])
def test_a_run_that_was_stopped_while_it_tokenised_is_kept(
    stop: type[BaseException], config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, write = [], token_writer._write_shard

    def interrupted(*job: Any) -> int:
        if shards:
            raise stop
        shards.append(job[1])
        return write(*job)

    monkeypatch.setattr(token_writer, "BLOCK", 25)
    monkeypatch.setattr(token_writer, "cores", lambda: 1)
    monkeypatch.setattr(token_writer, "_write_shard", interrupted)
    run = tmp_path / "run"
    with pytest.raises(stop):
        train(config, run, device="cpu")
    assert shards[0].exists()
    written = shards[0].stat().st_mtime_ns
    with pytest.raises(TrainingError, match="--resume"):
        train(config, run, device="cpu")
    monkeypatch.setattr(token_writer, "_write_shard", write)
    train(config, run, device="cpu", resume=True)
    assert (run / "tokens" / "corpus000" / shards[0].name).stat().st_mtime_ns == written
    assert latest(run) is not None


def test_an_empty_validation_corpus_is_refused(config: Config, tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / f"validation.{side}").write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.validation"):
        train(config, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_to_translate_with_a_shortlist_validates_without(config: Config, tmp_path: Path) -> None:
    train(replace(config, decoding=replace(config.decoding, shortlist=True)), tmp_path / "run", device="cpu")
    assert latest(tmp_path / "run") is not None


def test_patience_begins_anew_with_another_metric(config: Config, tmp_path: Path) -> None:
    train(config, tmp_path / "run", device="cpu")
    steps = config.training.steps
    longer = replace(config.training, steps=2 * steps, validate_every=1, validation_metric="loss", patience=2)
    train(replace(config, training=longer), tmp_path / "run", device="cpu", resume=True)
    info = read_info(latest(tmp_path / "run"))
    assert info.step > steps + 2 and info.best_score is not None and info.best_score < 0


def test_links_stay_what_they_are_called(config: Config, tmp_path: Path) -> None:
    (corpus,) = config.data.train
    link = tmp_path / "link.txt"
    link.symlink_to(corpus.source)
    data = replace(config.data, train=(replace(corpus, source=str(link)),))
    save_config(replace(config, data=data), tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml").data.train[0].source == str(link)
