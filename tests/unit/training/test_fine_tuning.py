"""Fine-tuning: what it starts from, what stays, what is refused, and exact resuming."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.checkpoint import average, checkpoints, load_model, parameters_of, read_tensors
from seq2seq.config import Config, CorpusConfig, TokenizerConfig, load_config
from seq2seq.data.tokenizer import train_tokenizer
from seq2seq.errors import CheckpointError, ConfigError, TrainingError
from seq2seq.model.transformer import Transformer
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Feed, Position
from seq2seq.training.fine_tuning import describe_unknown, freeze
from seq2seq.training.trainer import train
from tests.random_models import random_model

LORA = {"lora_rank": 2, "lora_embedding_rank": 2}


@pytest.fixture
def tune(corpus: Path, trained_run: Path, tmp_path: Path):
    """Writes a config for fine-tuning `trained_run` and loads it, with changes to the training section."""

    def load(model: str = "", **changes: object) -> Config:
        text = (corpus / "config.toml").read_text(encoding="utf-8")
        data = text[: text.index("[tokenizer]")].replace('"train.', f'"{corpus}/train.')
        data = data.replace('"valid.', f'"{corpus}/valid.')
        path = tmp_path / "tune.toml"
        path.write_text(
            f'{data}\n[model]\n{model}\n[training]\ninitialise_from = "{trained_run}"\nsteps = 6\nbatch_tokens = 512\n'
            "warmup_steps = 2\nlearning_rate = 0.01\nvalidate_every = 3\n",
            encoding="utf-8",
        )
        config = load_config(path)
        return replace(config, training=replace(config.training, **changes))

    return load


def weights(run: Path) -> dict[str, torch.Tensor]:
    return parameters_of(load_model(run).model)


def test_training_starts_from_the_run_with_its_tokenizer(tune, trained_run: Path, tmp_path: Path) -> None:
    run = train(tune(learning_rate=0.0), tmp_path / "run", device="cpu")
    base, tuned = load_model(trained_run), load_model(run)
    assert tuned.tokenizer.hash == base.tokenizer.hash
    for name, tensor in parameters_of(base.model).items():
        assert torch.equal(parameters_of(tuned.model)[name], tensor), name


def test_a_fine_tuned_run_needs_the_other_no_more(tune, trained_run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained_run, base)
    for number, changes in enumerate(({}, LORA)):
        run = train(tune(initialise_from=str(base), **changes), tmp_path / f"run{number}", device="cpu")
        expected = weights(run)
        shutil.move(base, tmp_path / "gone")
        shutil.move(run, tmp_path / "moved")
        found = weights(tmp_path / "moved")
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        shutil.rmtree(tmp_path / "moved")
        shutil.move(tmp_path / "gone", base)


@pytest.mark.parametrize("changes", [{}, LORA, {"freeze": ("encoder",)}, {**LORA, "ema_decay": 0.9}], ids=str)
def test_resuming_is_exact(changes: dict[str, object], tune, tmp_path: Path) -> None:
    config = tune(**changes)
    whole = train(config, tmp_path / "whole", device="cpu")
    half = replace(config, training=replace(config.training, steps=3))
    train(half, tmp_path / "parts", device="cpu")
    parts = train(config, tmp_path / "parts", device="cpu", resume=True)
    for file in sorted((whole / "checkpoints").rglob("step_00000006/*.safetensors")):
        other = parts / file.relative_to(whole)
        assert file.read_bytes() == other.read_bytes(), file.name


def test_what_is_frozen_stays(tune, trained_run: Path, tmp_path: Path) -> None:
    run = train(tune(freeze=("embeddings", "decoder")), tmp_path / "run", device="cpu")
    before, after = weights(trained_run), weights(run)
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed and all(name.startswith("encoder") for name in changed)
    moments = read_tensors(checkpoints(run)[-1] / "training.safetensors")
    assert not any("decoder" in name or "embedding" in name for name in moments)


def test_lora_checkpoints_are_small_and_know_their_base(tune, trained_run: Path, tmp_path: Path) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    latest = checkpoints(run)[-1]
    assert not (latest / "model.safetensors").exists()
    adapter = latest / "adapter.safetensors"
    assert adapter.stat().st_size < (run / "base" / "model.safetensors").stat().st_size / 3
    merged = parameters_of(load_model(latest).model)
    given = parameters_of(load_model(trained_run, adapter=adapter).model)
    assert all(torch.equal(merged[name], tensor) for name, tensor in given.items())
    assert not all(torch.equal(merged[name], tensor) for name, tensor in weights(trained_run).items())
    with pytest.raises(CheckpointError, match="was trained from other weights"):
        load_model(run, adapter=adapter)


def test_averages_of_lora_checkpoints_are_plain(tune, tmp_path: Path) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    folder = average(run, last=2)
    mean = [load_model(one) for one in checkpoints(run)[-2:]]
    expected = [parameters_of(loaded.model) for loaded in mean]
    for name, tensor in parameters_of(load_model(folder).model).items():
        torch.testing.assert_close(tensor, (expected[0][name] + expected[1][name]) / 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initialise_from": "/nowhere"}, "/nowhere: no such run"),
        ({"freeze": ("embeddings", "encoder", "decoder")}, "leaves nothing to train"),
    ],
)
def test_mistakes_are_named(changes: dict[str, object], message: str, tune, tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, TrainingError), match=message):
        train(tune(**changes), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_another_model_or_tokenizer_is_refused_by_name(tune, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"`model.d_ff` = 128: .* has 64; leave it out"):
        train(tune(model="d_ff = 128"), tmp_path / "run", device="cpu")
    train(tune(model="dropout = 0.3"), tmp_path / "run", device="cpu")
    lines = (corpus / "train.de").read_text(encoding="utf-8").splitlines()
    other = train_tokenizer(TokenizerConfig(vocab_size=290), lines, lines, tmp_path / "t")
    with pytest.raises(TrainingError, match="its tokenizer is not the one that was given"):
        train(tune(), tmp_path / "other", tokenizer=other, device="cpu")


def test_settings_that_need_each_other() -> None:
    config = Config().training
    with pytest.raises(ConfigError, match=r"lora_rank` = 2: needs a run"):
        replace(config, lora_rank=2)
    with pytest.raises(ConfigError, match="leave `freeze` out"):
        replace(config, lora_rank=2, initialise_from="x", freeze=("encoder",))


def test_freezing_parts_leaves_the_others() -> None:
    model: Transformer = random_model(tied_embeddings="none", output_bias=True)
    freeze(model, ("embeddings",))
    assert not any(p.requires_grad for m in (model.source_embedding, model.output) for p in m.parameters())
    assert all(p.requires_grad for p in model.encoder.parameters())


def test_unknown_characters_are_counted(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "train.de").read_text(encoding="utf-8").splitlines()
    config = TokenizerConfig(vocab_size=290)
    spelt = train_tokenizer(config, lines, lines, tmp_path / "a").source
    plain = train_tokenizer(replace(config, vocab_size=30, byte_fallback=False), lines, lines, tmp_path / "b").source
    assert describe_unknown(spelt, lines, "source") == ""
    line = describe_unknown(spelt, ["abc żż", "漢"], "source")
    assert "3 of 7 source characters (42.86%), 2 different ones" in line and "spelt in bytes: 'ż' 2, '漢' 1" in line
    assert "read as unknown" in describe_unknown(plain, ["ż"], "target")


@pytest.mark.parametrize("weight", [0.5, 2.0, 2.5])
def test_weights_say_how_often_pairs_are_seen(weight: float, corpus: Path, trained_run: Path) -> None:
    config = load_config(trained_run / "config.toml")
    (first,) = config.data.train
    second = CorpusConfig(source=str(corpus / "valid.de"), target=str(corpus / "valid.en"), weight=weight)
    config = replace(config, data=replace(config.data, train=(first, second)))
    tokenizer = load_model(trained_run).tokenizer
    feed = Feed(config, tokenizer, Processes(0, 1))
    plans = []
    for epoch in (0, 1, 0):
        feed._load(epoch)
        plans.append(sorted(int(i) for batch in feed._plan for i in batch))
    assert plans[0] == plans[2], "a function of the epoch"
    counts = [plans[0].count(i) for i in range(320)]
    assert counts[:300] == [1] * 300
    assert sum(counts[300:]) == 20 * weight and max(counts[300:]) - min(counts[300:]) <= 1
    assert (plans[0] == plans[1]) == (weight == 2.0), "the part is drawn anew"
    assert feed.step(Position(0, 0)).batches
