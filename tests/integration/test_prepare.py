"""From `seq2seq prepare` to `seq2seq train`: the same weights as from the text, without the text, wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .test_resume import CONFIG, write_corpus

KEEP_ALL = "\n[prepare]\nremove_overlap = false\ndeduplicate = false\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_corpus(tmp_path)
    path = tmp_path / "config.toml"
    text = CONFIG.replace("steps = 24", "steps = 6").replace("validate_every = 12", "validate_every = 6")
    path.write_text(text.replace("SAMPLING", "subword_sampling = 0.1") + KEEP_ALL, encoding="utf-8")
    return path


def weights(run: Path) -> bytes:
    return (run / "checkpoints/step_00000006/model.safetensors").read_bytes()


def test_training_on_what_was_prepared_is_training_on_the_text(seq2seq, config: Path, tmp_path: Path) -> None:
    assert seq2seq("train", config, "--output", tmp_path / "plain", "--device", "cpu").status == 0
    told = seq2seq("prepare", config, "--output", tmp_path / "out")
    assert told.status == 0, told.stderr
    assert "400 of 400 pairs kept" in told.stderr
    assert "pieces a word" in told.stderr
    assert "done already" in seq2seq("prepare", config, "--output", tmp_path / "out").stderr
    (tmp_path / "out").rename(tmp_path / "moved")
    for path in (*tmp_path.glob("*.a"), *tmp_path.glob("*.b")):
        path.unlink()
    ready = tmp_path / "moved/config.toml"
    trained = seq2seq("train", ready, "--output", tmp_path / "run", "--device", "cpu")
    assert trained.status == 0, trained.stderr
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")
    assert not (tmp_path / "run/tokens").exists()
    assert (tmp_path / "plain/tokens/corpus000/text").exists(), "where it is sampled from"


def test_text_that_never_comes_may_stand_beside_what_was_prepared(seq2seq, config: Path, tmp_path: Path) -> None:
    assert seq2seq("prepare", config, "--output", tmp_path / "out").status == 0
    ready = tmp_path / "out/config.toml"
    one, other = (next(tmp_path.glob(f"*.{side}")) for side in ("a", "b"))
    more = f"\n[[data.train]]\nsource = '{one}'\ntarget = '{other}'\nweight = 0.0\n"
    ready.write_text(ready.read_text(encoding="utf-8") + more, encoding="utf-8")
    trained = seq2seq("train", ready, "--output", tmp_path / "run", "--device", "cpu", "--set", "training.steps=1")
    assert trained.status == 0, trained.stderr


def test_no_corpus_is_prepared_into_itself(seq2seq, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert seq2seq("prepare", config, "--output", out).status == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name, output in ((out / "config.toml", out), (out / "config.toml", out / "train/corpus000/again")):
        told = seq2seq("prepare", name, "--output", output, "--set", "prepare.max_ratio=2")
        assert told.status == 1 and "is a corpus to prepare" in told.stderr and told.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_lost_tokens_are_made_again_and_old_ones_go(seq2seq, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", config, "--output", run, "--device", "cpu")
    assert seq2seq(*command, "--set", "training.steps=3").status == 0
    shutil.rmtree(run / "tokens")
    assert seq2seq(*command, "--resume").status == 0
    assert seq2seq("train", config, "--output", tmp_path / "whole", "--device", "cpu").status == 0
    assert weights(run) == weights(tmp_path / "whole")
    (run / "tokens/corpus007").mkdir()
    assert seq2seq(*command, "--overwrite", "--set", "training.steps=1").status == 0
    assert [path.name for path in (run / "tokens").iterdir()] == ["corpus000"]


def test_damaged_tokens_are_one_clear_line(seq2seq, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", config, "--output", run, "--device", "cpu")
    assert seq2seq(*command, "--set", "training.steps=1").status == 0
    shard = run / "tokens/corpus000/data-000000.arrow"
    shard.write_bytes(shard.read_bytes()[:99])
    told = seq2seq(*command, "--resume")
    assert told.status == 1
    assert "data-000000.arrow: damaged" in told.stderr
    assert "delete the folder" in told.stderr
