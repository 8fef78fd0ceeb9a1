"""`seq2seq import`: what it makes is a run like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.marian_models import sentences, write_model

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian") / "model"
    write_model(folder, encoder_layers=1, decoder_layers=1)
    return folder


@pytest.fixture(scope="module")
def run(model: Path, seq2seq: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "imported"
    outcome = seq2seq("import", model, "--output", run)
    assert outcome.status == 0, outcome.stderr
    assert outcome.lines == [str(run)]
    assert outcome.stderr.startswith("seq2seq: verified: ") and outcome.stderr.count("\n") == 1
    return run


def text(side: str) -> bytes:
    return "".join(f"{line}\n" for line in sentences(side, 12)).encode()


def test_translate(run: Path, seq2seq: Command) -> None:
    outcome = seq2seq("translate", run, "--beam-size", 2, "--max-length-offset", 2, stdin=text("source.spm"))
    assert outcome.status == 0, outcome.stderr
    assert len(outcome.lines) == 12
    assert "<unk>" not in outcome.stdout.decode() and "<pad>" not in outcome.stdout.decode()


def test_tokenizer_encode_and_decode(run: Path, seq2seq: Command) -> None:
    for side in ("source", "target"):
        for ids in ([], ["--ids"]):
            given = text(f"{side}.spm")
            pieces = seq2seq("tokenizer", "encode", run / "tokenizer", "--side", side, *ids, stdin=given)
            back = seq2seq("tokenizer", "decode", run / "tokenizer", "--side", side, *ids, stdin=pieces.stdout)
            assert (pieces.status, back.status, back.stdout) == (0, 0, given)


def test_evaluate(run: Path, seq2seq: Command, tmp_path: Path) -> None:
    for name in ("source", "target"):
        (tmp_path / name).write_bytes(text(f"{name}.spm"))
    outcome = seq2seq(
        "evaluate", run, "--source", tmp_path / "source", "--reference", tmp_path / "target", "--beam-size", 1
    )
    assert outcome.status == 0, outcome.stderr


def test_trained_further_with_its_tokenizer(run: Path, seq2seq: Command, tmp_path: Path) -> None:
    """A new model with the tokenizer of the imported one, subword sampling and all."""
    for name in ("source", "target"):
        (tmp_path / name).write_bytes(text(f"{name}.spm") * 5)
    corpus = '{ source = "source", target = "target" }'
    (tmp_path / "config.toml").write_text(
        f"[data]\nmax_length = 60\ntrain = [{corpus}]\nvalidation = {corpus}\n"
        f"[tokenizer]\npath = {json.dumps(str(run / 'tokenizer'))}\n"
        "[model]\nencoder_layers = 1\ndecoder_layers = 1\nd_model = 8\nd_ff = 8\nnum_heads = 2\nmax_length = 64\n"
        "[training]\nsteps = 2\nbatch_tokens = 200\nvalidate_every = 2\nsubword_sampling = 0.2\n",
        encoding="utf-8",
    )
    outcome = seq2seq("train", tmp_path / "config.toml", "--output", tmp_path / "new", "--device", "cpu")
    assert outcome.status == 0, outcome.stderr
    outcome = seq2seq("translate", tmp_path / "new", "--beam-size", 1, stdin=text("source.spm"))
    assert outcome.status == 0, outcome.stderr


def test_exported_again(run: Path, model: Path, seq2seq: Command, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(text("source.spm"))
    outcome = seq2seq(
        "export", run, "--format", "huggingface", "--output", tmp_path / "out", "--verify", tmp_path / "lines"
    )
    assert outcome.status == 0, outcome.stderr
    for name in ("source.spm", "target.spm", "vocab.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def test_mistakes_are_one_line(run: Path, model: Path, seq2seq: Command, tmp_path: Path) -> None:
    for arguments, message in (
        ((model, "--output", run), "is there already"),
        ((tmp_path / "nowhere", "--output", tmp_path / "run"), "no such folder"),
        ((tmp_path, "--output", tmp_path / "run"), "no config.json"),
        ((model, "--output", tmp_path / "run", "--revision", "x"), "leave it out"),
    ):
        outcome = seq2seq("import", *arguments)
        assert (outcome.status, outcome.stdout) == (1, b"")
        assert message in outcome.stderr and outcome.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_unverified(model: Path, seq2seq: Command, tmp_path: Path) -> None:
    outcome = seq2seq("import", model, "--output", tmp_path / "run", "--no-verify")
    assert outcome.status == 0
    assert "not compared" in outcome.stderr
