"""Checkpoints: what is written comes back, the right one is chosen, and damage is named."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.averaging import average
from seq2seq.checkpoint import (
    CheckpointInfo,
    best,
    checkpoints,
    latest,
    load_model,
    prune,
    read_info,
    read_training_tensors,
    resolve,
    save_checkpoint,
)
from seq2seq.config import Config, ModelConfig, RecipeConfig, TokenizerConfig, load_config, save_config
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.errors import CheckpointError, TokenizerError
from seq2seq.model.transformer import Transformer
from seq2seq.weights import parameters_of

TEXT = ["the cat sat on the mat", "a dog ran over the hill", "birds sing in the old tree"] * 20


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    return train_tokenizer(TokenizerConfig(vocab_size=300, algorithm="bpe"), TEXT, TEXT, folder)


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    size = tokenizer.source_vocab_size
    model = ModelConfig(
        encoder_layers=1, decoder_layers=1, d_model=8, d_ff=8, num_heads=2,
        source_vocab_size=size, target_vocab_size=size,
    )  # fmt: skip
    tokenizer.save(tmp_path / "tokenizer")
    save_config(Config(model=model), tmp_path / "config.toml")
    return tmp_path


def add(
    run: Path,
    tokenizer: Tokenizer,
    step: int,
    bleu: float | None = None,
    fill: float | None = None,
    interrupted: bool = False,
    loss: float | None = None,
) -> Path:
    from seq2seq.config import load_config

    torch.manual_seed(step)
    model = Transformer(load_config(run / "config.toml").model)
    if fill is not None:
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, fill)
    scores = None if bleu is None else {"bleu": bleu, "chrf": 1.0, "loss": 5.0 - bleu if loss is None else loss}
    info = CheckpointInfo(step=step, tokenizer_hash=tokenizer.hash, validation=scores, interrupted=interrupted)
    return save_checkpoint(run, info, parameters_of(model), {"moment": torch.ones(2)})


def test_weights_come_back(run: Path, tokenizer: Tokenizer) -> None:
    folder = add(run, tokenizer, 3)
    loaded = load_model(run)
    torch.manual_seed(3)
    expected = Transformer(loaded.config.model)
    assert loaded.checkpoint == folder
    for name, parameter in parameters_of(expected).items():
        assert torch.equal(parameters_of(loaded.model)[name], parameter)
    assert loaded.model.output.weight is loaded.model.target_embedding.weight


def test_best_and_latest_and_prune(run: Path, tokenizer: Tokenizer) -> None:
    for step, bleu in ((1, 10.0), (2, 30.0), (3, 20.0), (4, None), (5, 25.0)):
        add(run, tokenizer, step, bleu)
    assert best(run, "bleu").name == best(run, "loss").name == "step_00000002"
    assert latest(run).name == "step_00000005"
    prune(run, 2, "bleu")
    assert [read_info(folder).step for folder in checkpoints(run)] == [2, 4, 5]
    assert [(folder / "training.safetensors").exists() for folder in checkpoints(run)] == [False, False, True]
    with pytest.raises(CheckpointError, match="only a run's newest checkpoint can be resumed"):
        read_training_tensors(checkpoints(run)[0])


def test_the_metric_of_validation_says_which_is_best(run: Path, tokenizer: Tokenizer) -> None:
    for step, bleu, loss in ((1, 30.0, 9.0), (2, 20.0, 1.0), (3, 10.0, 5.0)):
        add(run, tokenizer, step, bleu, loss=loss)
    assert (best(run, "bleu").name, best(run, "loss").name) == ("step_00000001", "step_00000002")
    for metric, expected in (("bleu", "step_00000001"), ("loss", "step_00000002")):
        config = load_config(run / "config.toml")
        training = replace(config.training, validation_metric=metric)
        save_config(replace(config, training=training), run / "config.toml")
        assert resolve(run)[1].name == expected
        assert read_info(average(run, best=1)).averaged == [expected]
    prune(run, 1, "loss")
    assert [read_info(folder).step for folder in checkpoints(run)] == [2, 3]


def test_an_interruption_changes_nothing_that_is_kept_or_averaged(run: Path, tokenizer: Tokenizer) -> None:
    for step in (1, 2, 3):
        add(run, tokenizer, step, fill=float(step), interrupted=step == 2)
        prune(run, 2, "bleu")
    assert [read_info(folder).step for folder in checkpoints(run)] == [1, 3]
    weights = parameters_of(load_model(average(run, last=2)).model)
    assert all(torch.all(tensor == 2.0) for tensor in weights.values())


def test_a_path_may_be_a_run_or_a_checkpoint(run: Path, tokenizer: Tokenizer) -> None:
    first, second = add(run, tokenizer, 1, 5.0), add(run, tokenizer, 2, 4.0)
    assert resolve(run) == (run, first)
    assert resolve(second)[1] == second
    assert load_model(second).checkpoint == second


def test_average_is_the_mean(run: Path, tokenizer: Tokenizer) -> None:
    for step, fill in ((1, 1.0), (2, 2.0), (3, 6.0)):
        add(run, tokenizer, step, bleu=float(step), fill=fill)
    folder = average(run, last=2, validate=lambda model, config, tok: {"bleu": 9.0, "chrf": 9.0, "loss": 0.1})
    assert folder.name == "average_last_2"
    weights = parameters_of(load_model(folder).model)
    assert all(torch.all(tensor == 4.0) for tensor in weights.values())
    assert best(run, "bleu") == folder
    assert latest(run).name == "step_00000003"  # an average is nothing to resume from
    with pytest.raises(CheckpointError, match="5 checkpoints to average but 3 of the latest there"):
        average(run, last=5)
    with pytest.raises(CheckpointError, match="5 best checkpoints to average but 3 of the 3 there are validated"):
        average(run, best=5)
    for folder in checkpoints(run):
        (folder / "checkpoint.json").write_text(
            (folder / "checkpoint.json").read_text(encoding="utf-8").replace(tokenizer.hash, "0" * 64), encoding="utf-8"
        )
    with pytest.raises(TokenizerError, match="trained with tokenizer 000000000000, but the run's is"):
        average(run, last=2)


def test_the_mean_that_the_recipe_asks_for_is_what_a_run_means(run: Path, tokenizer: Tokenizer) -> None:
    for step in (1, 2, 3):
        add(run, tokenizer, step, bleu=30.0)
    worse = average(run, last=2, validate=lambda model, config, tok: {"bleu": 9.0, "chrf": 9.0, "loss": 9.9})
    assert resolve(run)[1].name == "step_00000003"
    config = load_config(run / "config.toml")
    newest = run / "checkpoints/step_00000003"
    for number, expected in ((3, newest), (2, worse), (1, newest)):
        save_config(replace(config, recipe=RecipeConfig(average=number)), run / "config.toml")
        assert resolve(run)[1] == expected
    save_config(replace(config, recipe=RecipeConfig(average=2)), run / "config.toml")
    later = add(run, tokenizer, 4, bleu=31.0)
    assert resolve(run)[1] == later, "training went on, and there is no mean of these yet"


def test_best_n_average_takes_the_best(run: Path, tokenizer: Tokenizer) -> None:
    for step, bleu, fill in ((1, 9.0, 1.0), (2, 1.0, 50.0), (3, 8.0, 3.0)):
        add(run, tokenizer, step, bleu=bleu, fill=fill)
    folder = average(run, best=2)
    assert folder.name == "average_best_2"
    weights = parameters_of(load_model(folder).model)
    assert all(torch.all(tensor == 2.0) for tensor in weights.values())


def test_another_tokenizer_is_refused(run: Path, tokenizer: Tokenizer) -> None:
    add(run, replace_hash(tokenizer), 1)
    with pytest.raises(TokenizerError, match="trained with tokenizer 0000"):
        load_model(run)


def replace_hash(tokenizer: Tokenizer) -> object:
    class Other:
        hash = "0" * 64

    return Other()


def test_damage_is_named(run: Path, tokenizer: Tokenizer) -> None:
    folder = add(run, tokenizer, 1)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_model(run)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        load_model(run)
    (folder / "checkpoint.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: damaged"):
        load_model(run)


def test_weights_of_another_model_are_refused(run: Path, tokenizer: Tokenizer) -> None:
    from seq2seq.config import load_config

    add(run, tokenizer, 1)
    config = load_config(run / "config.toml")
    save_config(replace(config, model=replace(config.model, d_ff=16)), run / "config.toml")
    with pytest.raises(CheckpointError, match=r"does not fit.*feed_forward"):
        load_model(run)
    with pytest.raises(CheckpointError, match=r"does not fit.*feed_forward"):
        average(run, last=1)
    add(run, tokenizer, 2)
    with pytest.raises(CheckpointError, match="step_00000002: has other weights than step_00000001"):
        average(run, last=2)


def test_missing_things_are_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run"):
        resolve(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        resolve(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="not a run"):
        resolve(tmp_path / "empty")
    copied = tmp_path / "copies" / "of" / "best"
    save_checkpoint(copied.parent, CheckpointInfo(step=1, tokenizer_hash=""), {}).rename(copied)
    with pytest.raises(CheckpointError, match=r"best: a checkpoint without its run \(no .*config\.toml\)"):
        resolve(copied)
    (copied / "config.json").touch()
    with pytest.raises(CheckpointError, match=r"is a model of Hugging Face; `seq2seq import .*best --output RUN`"):
        resolve(copied)


def test_a_write_that_fails_leaves_nothing(run: Path, tokenizer: Tokenizer, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seq2seq.checkpoint.write_json", full)
    with pytest.raises(OSError, match="No space"):
        add(run, tokenizer, 1)
    assert list((run / "checkpoints").iterdir()) == []


def test_checkpoint_json_is_plain(run: Path, tokenizer: Tokenizer) -> None:
    said = json.loads((add(run, tokenizer, 7, 12.5) / "checkpoint.json").read_text(encoding="utf-8"))
    assert said["step"] == 7
    assert said["validation"]["bleu"] == 12.5
    assert said["tokenizer_hash"] == tokenizer.hash


def test_a_full_disk_is_told_and_leaves_no_half_checkpoint(run: Path, tokenizer: Tokenizer) -> None:
    add(run, tokenizer, step=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))  # bytes of a file
    try:
        with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be written .*; make room, or"):
            add(run, tokenizer, step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_00000001"]
