"""Fine-tuning from the command line: from a run to a run that every command takes, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Command, Outcome

LORA = ("--set", "training.lora_rank=2", "--set", "training.lora_embedding_rank=2")
FREEZE = ("--set", 'training.freeze=["embeddings"]')


@pytest.fixture
def config(corpus: Path, trained_run: Path, tmp_path: Path) -> Path:
    """A config for fine-tuning a copy of a trained run on text with a character that it has not seen."""
    shutil.copytree(trained_run, tmp_path / "base")
    for name in ("train", "valid"):
        for side in ("de", "en"):
            lines = (corpus / f"{name}.{side}").read_text(encoding="utf-8").splitlines()[:60]
            text = "".join(f"{line} ż\n" for line in lines)
            (tmp_path / f"{name}.{side}").write_text(text, encoding="utf-8")
    path = tmp_path / "tune.toml"
    path.write_text(
        """\
[data]
source_language = "de"
target_language = "en"
max_length = 64
train = [
  { source = "train.de", target = "train.en" },
  { source = "REPLAY.de", target = "REPLAY.en", weight = 0.5 },
]
validation = { source = "valid.de", target = "valid.en" }
[training]
initialise_from = "base"
steps = 4
batch_tokens = 512
learning_rate = 0.01
warmup_steps = 1
validate_every = 2
""".replace("REPLAY", str(corpus / "train")),
        encoding="utf-8",
    )
    return path


def train(seq2seq: Command, config: Path, name: str, *more: str) -> Outcome:
    return seq2seq("train", config, "--output", config.parent / name, "--device", "cpu", *more)


@pytest.mark.parametrize("options", [(), FREEZE, LORA], ids=["all", "part", "lora"])
def test_a_fine_tuned_run_is_like_any_other(
    options: tuple[str, ...], seq2seq: Command, config: Path, corpus: Path
) -> None:
    done = train(seq2seq, config, "run", *options)
    assert done.status == 0, done.stderr
    assert "source characters" in done.stderr and "are spelt in bytes: 'ż' 60" in done.stderr
    assert ("of them trained" in done.stderr) == bool(options)
    run = config.parent / "run"
    shutil.rmtree(config.parent / "base")
    moved = run.rename(config.parent / "moved")
    sentences = (corpus / "test.de").read_bytes()
    translated = seq2seq("translate", moved, stdin=sentences)
    assert translated.status == 0 and len(translated.lines) == 20
    text = ("--source", corpus / "test.de", "--reference", corpus / "test.en")
    scored = seq2seq("evaluate", moved, *text, "--json", "--device", "cpu")
    assert json.loads(scored.stdout)[0]["bleu"]
    averaged = seq2seq("average", moved, "--last", "2")
    assert averaged.status == 0 and Path(averaged.lines[0], "model.safetensors").exists()
    packaged = seq2seq("package", moved, "--output", config.parent / "packaged")
    assert packaged.status == 0, packaged.stderr
    assert not list((config.parent / "packaged").rglob("adapter.safetensors"))
    assert seq2seq("translate", config.parent / "packaged", stdin=sentences).lines == seq2seq(
        "translate", moved, stdin=sentences
    ).lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("training.initialise_from=nowhere",), "nowhere: no such run"),
        (("training.initialise_from=", "training.lora_rank=2"), "needs a run in `training.initialise_from`"),
        (("model.d_ff=128",), "`model.d_ff` = 128"),
        (("tokenizer.vocab_size=400",), "`tokenizer.vocab_size` = 400"),
        (('training.freeze=["encoder", "decoder", "embeddings"]',), "leaves nothing to train"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], message: str, seq2seq: Command, config: Path) -> None:
    arguments = [part for option in options for part in ("--set", option)]
    done = train(seq2seq, config, "run", *arguments)
    assert done.status == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (config.parent / "run").exists()


def test_the_base_is_not_overwritten(seq2seq: Command, config: Path) -> None:
    done = train(seq2seq, config, "base", "--overwrite", *LORA)
    assert done.status == 1 and "is the run to write; choose another --output" in done.stderr
    assert len(list((config.parent / "base" / "checkpoints").glob("step_*"))) == 2


@pytest.mark.parametrize("elsewhere", [False, True], ids=["gone", "moved"])
@pytest.mark.parametrize("options", [(), LORA], ids=["all", "lora"])
def test_resuming_needs_no_base(
    options: tuple[str, ...], elsewhere: bool, seq2seq: Command, config: Path, tmp_path: Path
) -> None:
    """By the user's own config, which has the model's sizes from the base."""
    assert train(seq2seq, config, "run", *options, "--set", "training.steps=2").status == 0
    if elsewhere:
        shutil.copytree(tmp_path / "base", tmp_path / "other")
        text = config.read_text(encoding="utf-8").replace('initialise_from = "base"', 'initialise_from = "other"')
        config.write_text(text, encoding="utf-8")
    shutil.rmtree(tmp_path / "base")
    done = train(seq2seq, config, "run", *options, "--resume", "--set", "model.d_ff=99")
    assert done.status == 1 and "`model.d_ff` was" in done.stderr
    done = train(seq2seq, config, "run", *options, "--resume")
    assert done.status == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "step_00000004").exists()


def test_a_base_may_lie_in_a_folder_of_any_name(seq2seq: Command, config: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.move(tmp_path / "base", tmp_path / "checkpoints" / "base")
    text = config.read_text(encoding="utf-8").replace('"base"', '"checkpoints/base"')
    config.write_text(text, encoding="utf-8")
    done = train(seq2seq, config, "run", "--set", "training.steps=1")
    assert done.status == 0, done.stderr


@pytest.mark.parametrize("is_there", [False, True])
def test_the_base_is_no_other_while_it_is_there_or_needed(
    is_there: bool, seq2seq: Command, config: Path, tmp_path: Path
) -> None:
    assert train(seq2seq, config, "run", "--set", "training.steps=2").status == 0
    shutil.copytree(tmp_path / "base", tmp_path / "other")
    if not is_there:
        shutil.rmtree(tmp_path / "base")
        shutil.rmtree(tmp_path / "run" / "checkpoints")
    done = train(seq2seq, config, "run", "--resume", "--set", f"training.initialise_from={tmp_path}/other")
    assert done.status == 1 and "`training.initialise_from` was" in done.stderr


def test_resuming_a_lora_run_is_exact_without_the_base(seq2seq: Command, config: Path) -> None:
    assert train(seq2seq, config, "whole", *LORA).status == 0
    assert train(seq2seq, config, "parts", *LORA, "--set", "training.steps=2").status == 0
    shutil.rmtree(config.parent / "base")
    own = config.parent / "parts" / "config.toml"
    done = train(seq2seq, own, "../parts", "--resume", "--set", "training.steps=4")
    assert done.status == 0, done.stderr
    for name in ("adapter.safetensors", "training.safetensors"):
        whole, parts = (config.parent / run / "checkpoints" / "step_00000004" / name for run in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name
