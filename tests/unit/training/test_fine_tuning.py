"""Fine-tuning: what it starts from, what stays, what is refused, and exact resuming."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seq2seq.averaging import average
from seq2seq.checkpoint import checkpoints, load_model
from seq2seq.config import Config, TokenizerConfig, load_config
from seq2seq.data.tokenizer import train_tokenizer
from seq2seq.decoding.translator import Translator
from seq2seq.errors import CheckpointError, ConfigError, TokenizerError, TrainingError
from seq2seq.export.exporter import without_data
from seq2seq.model.transformer import Transformer
from seq2seq.training.fine_tuning import describe_unknown, freeze, merge
from seq2seq.training.trainer import train
from seq2seq.weights import parameters_of, read_tensors
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
    assert without_data(load_config(run / "config.toml")).training.freeze == (), "which needs a run to begin from"


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


def test_a_base_that_is_missing_is_named(tune, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="/nowhere: no such run"):
        train(tune(initialise_from="/nowhere"), tmp_path / "run", device="cpu")
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
    with pytest.raises(ConfigError, match=r"lora_embedding_rank` = 2: set `training.lora_rank` too"):
        replace(config, lora_embedding_rank=2)
    with pytest.raises(ConfigError, match="leaves nothing to train"):  # before --overwrite could remove a run
        replace(config, freeze=("decoder", "embeddings", "encoder"))
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


def test_composed_and_decomposed_characters_are_the_same(tmp_path: Path) -> None:
    lines = ["schöne Mädchen für", "größer als"] * 20
    vocabulary = train_tokenizer(TokenizerConfig(vocab_size=290, algorithm="bpe"), lines, lines, tmp_path / "t").source
    assert describe_unknown(vocabulary, ["fu\u0308r scho\u0308ne"], "source") == ""
    assert "'e\u0301' 1" in describe_unknown(vocabulary, ["e\u0301"], "source")


def test_the_run_to_start_from_is_never_overwritten(tune, trained_run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained_run, base)
    for path in (base, checkpoints(base)[0]):
        with pytest.raises(TrainingError, match="is the run to write; choose another --output"):
            train(tune(initialise_from=str(path), **LORA), base, device="cpu", overwrite=True)
    assert [path.name for path in checkpoints(base)] == [path.name for path in checkpoints(trained_run)]


@pytest.mark.parametrize("options", [{}, LORA], ids=["all", "lora"])
def test_a_damaged_base_costs_no_run(options: dict[str, object], tune, trained_run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained_run, base)
    run = train(tune(initialise_from=str(base), **options), tmp_path / "run", device="cpu")
    files = sorted(path for path in run.rglob("*"))
    for folder in checkpoints(base):
        (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        train(tune(initialise_from=str(base), **options), run, device="cpu", overwrite=True)
    assert sorted(path for path in run.rglob("*")) == files


def test_a_run_loads_whatever_became_of_the_one_it_was_trained_from(tune, trained_run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained_run, base)
    run = train(tune(initialise_from=str(base)), tmp_path / "run", device="cpu")
    config = load_config(run / "config.toml")
    (base / "config.toml").write_text("[damaged", encoding="utf-8")
    assert load_config(run / "config.toml") == config
    (tmp_path / "config.toml").write_text('[training]\ninitialise_from = "."\n', encoding="utf-8")
    load_config(tmp_path / "config.toml")  # names itself


def test_an_adapter_checkpoint_can_be_named_from_within(tune, tmp_path: Path, monkeypatch) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    monkeypatch.chdir(run / "checkpoints")
    name = max(path.name for path in Path().iterdir())
    expected = weights(run / "checkpoints" / name)
    assert all(torch.equal(expected[key], tensor) for key, tensor in weights(Path(name)).items())


def test_resuming_beside_other_weights_is_refused(tune, tmp_path: Path) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    base = run / "base" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in read_tensors(base).items()}, base)
    with pytest.raises(CheckpointError, match="was trained from other weights"):
        train(tune(steps=9, **LORA), run, device="cpu", resume=True)


def test_tokenizer_settings_of_another_are_refused_by_name(tune, tmp_path: Path) -> None:
    config = tune()
    config = replace(config, tokenizer=replace(config.tokenizer, vocab_size=400))
    with pytest.raises(TrainingError, match=r"`tokenizer.vocab_size` = 400: .* has 300; leave it out"):
        train(config, tmp_path / "run", device="cpu")


def test_a_model_to_start_from_is_named_once(tune, trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        train(tune(), tmp_path / "run", model=load_model(trained_run).model, device="cpu")


def test_the_longest_sequence_may_change(tune, tmp_path: Path) -> None:
    run = train(tune(model="max_length = 128"), tmp_path / "run", device="cpu")
    assert load_model(run).config.model.max_length == 128


def test_a_merged_run_is_plain_and_the_same(tune, trained_run: Path, tmp_path: Path) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    plain = merge(run, tmp_path / "plain")
    adapter = load_model(run).checkpoint / "adapter.safetensors"
    by_file = merge(trained_run, tmp_path / "by_file", adapter)
    shutil.rmtree(run / "base")
    assert not list(plain.rglob("adapter.safetensors"))
    assert load_config(plain / "config.toml").training.initialise_from == ""
    again = train(tune(initialise_from=str(plain), steps=2, learning_rate=0.0), tmp_path / "again", device="cpu")
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(by_file)[name])
        assert torch.equal(tensor, weights(again)[name])
    with pytest.raises(CheckpointError, match="is there already"):
        merge(run, plain)


def test_a_run_with_frozen_parts_is_merged(tune, tmp_path: Path) -> None:
    run = train(tune(freeze=("embeddings",)), tmp_path / "run", device="cpu")
    assert load_config(merge(run, tmp_path / "plain") / "config.toml").training.freeze == ()


def test_a_base_that_is_named_from_here_is_the_same_when_training_goes_on(
    tune, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_run.parent)
    train(tune(initialise_from=trained_run.name), tmp_path / "run", device="cpu")
    run = train(tune(initialise_from=trained_run.name, steps=7), tmp_path / "run", device="cpu", resume=True)
    assert (run / "checkpoints/step_00000007").exists()


def test_without_the_frozen_weights_the_remedy_is_not_another_checkpoint(tune, tmp_path: Path) -> None:
    run = train(tune(**LORA), tmp_path / "run", device="cpu")
    shutil.rmtree(run / "base")
    with pytest.raises(CheckpointError, match="missing; copy the run anew, with its folder `base`"):
        load_model(run)


def test_a_merged_run_has_what_its_settings_need(tune, tmp_path: Path) -> None:
    config = tune(**LORA, lora_dropout=0.1, r_drop=1.0)
    config = replace(
        config, model=replace(config.model, dropout=0.0), decoding=replace(config.decoding, shortlist=True)
    )  # fmt: skip
    run = train(config, tmp_path / "run", device="cpu")
    ours, merged = (Translator.load(each, "cpu") for each in (run, merge(run, tmp_path / "plain")))
    assert merged.translate(["abc de"])[0].text == ours.translate(["abc de"])[0].text
    assert without_data(load_config(run / "config.toml")).training.lora_rank == 0


def test_a_tag_that_the_run_does_not_know_is_refused(tune, tmp_path: Path) -> None:
    config = tune()
    tagged = (replace(config.data.train[0], tag="<bt>"),)
    with pytest.raises(TokenizerError, match="tag '<bt>': is no piece of the vocabulary"):
        train(replace(config, data=replace(config.data, train=tagged)), tmp_path / "run", device="cpu")
