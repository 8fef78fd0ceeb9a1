"""Killed and resumed training ends in the same weights, bit for bit, as training without a break."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS, SAVED = 24, 12


def write_corpus(folder: Path, pairs: int = 400) -> None:
    generator = random.Random(1)
    words = ["ka", "lo", "mi", "ne", "pu", "ra", "so", "ti"]
    for name, count in (("train", pairs), ("validation", 10)):
        lines = [" ".join(generator.choices(words, k=generator.randint(1, 9))) for _ in range(count)]
        (folder / f"{name}.a").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (folder / f"{name}.b").write_text("".join(f"{line[::-1]}\n" for line in lines), encoding="utf-8")


CONFIG = f"""
[data]
train = [{{ source = "train.a", target = "train.b" }}]
validation = {{ source = "validation.a", target = "validation.b" }}
[tokenizer]
vocab_size = 300
algorithm = "bpe"
[model]
encoder_layers = 2
decoder_layers = 2
d_model = 32
d_ff = 64
num_heads = 2
dropout = 0.1
[training]
steps = {STEPS}
batch_tokens = 256
accumulate = 2
warmup_steps = 5
log_every = 4
validate_every = {SAVED}
validation_metric = "loss"
SAMPLING
"""


@pytest.fixture
def config(tmp_path: Path, request) -> Path:
    write_corpus(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("SAMPLING", getattr(request, "param", "")), encoding="utf-8")
    return path


def command(config: Path, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "seq2seq_cli", "train", str(config), "--output", str(run), "--device", "cpu", *more]


def weights(run: Path) -> tuple[bytes, bytes]:
    folder = run / "checkpoints" / f"step_{STEPS:08d}"
    return (folder / "model.safetensors").read_bytes(), (folder / "training.safetensors").read_bytes()


@pytest.mark.parametrize("config", ["subword_sampling = 0.1\nema_decay = 0.9"], indirect=True)
def test_kill_and_resume_is_bit_identical(config: Path, tmp_path: Path) -> None:
    subprocess.run(command(config, tmp_path / "whole"), check=True, capture_output=True)
    broken = tmp_path / "broken"
    with subprocess.Popen(command(config, broken), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        saved = broken / "checkpoints" / f"step_{SAVED:08d}"
        deadline = time.monotonic() + 60
        while not saved.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert saved.exists()
    assert not (broken / "checkpoints" / f"step_{STEPS:08d}").exists(), "killed too late to prove anything"
    subprocess.run(command(config, broken, "--resume"), check=True, capture_output=True)
    assert weights(broken) == weights(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == sorted(steps)
    assert len(steps) == STEPS // 4 + STEPS // SAVED


def test_an_existing_run_is_not_overwritten_unasked(config: Path, tmp_path: Path, seq2seq) -> None:
    short = ("--set", "training.steps=2", "--set", "training.validate_every=0")
    train = ("train", config, "--output", tmp_path / "run", "--device", "cpu", *short)
    assert seq2seq(*train).status == 0
    again = seq2seq(*train)
    assert again.status == 1
    assert again.stderr.count("\n") == 1
    assert "--resume" in again.stderr
    other = seq2seq(*train, "--resume", "--set", "model.d_ff=32")
    assert other.status == 1
    assert "model.d_ff" in other.stderr
    assert seq2seq(*train, "--overwrite").status == 0


ENDLESS = ("--set", "training.steps=1000000", "--set", "training.log_every=1", "--set", "training.validate_every=0")


def test_ctrl_c_saves_though_nobody_reads_any_more(config: Path, tmp_path: Path) -> None:
    """As with `2>&1 | tee log`, whose reader gets the Ctrl-C too."""
    run = tmp_path / "run"
    with subprocess.Popen(command(config, run, *ENDLESS), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith(b"step ") for line in process.stderr)
            process.stderr.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()
    assert list((run / "checkpoints").glob("step_*"))


def test_training_goes_on_though_nobody_reads_any_more(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    long = ("--set", "training.log_every=1", "--set", "training.steps=96")
    with subprocess.Popen(command(config, run, *long), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith(b"step ") for line in process.stderr)
            process.stderr.close()
            assert not (run / "checkpoints" / "step_00000096").exists(), "closed too late to prove anything"
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert (run / "checkpoints" / "step_00000096").exists()


def test_a_ctrl_c_that_is_ignored_is_none(config: Path, tmp_path: Path) -> None:
    """As in the background of a shell's script, where it is meant for others."""
    run = tmp_path / "run"
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command(config, run, "--set", "training.log_every=1")]
    with subprocess.Popen(ignoring, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(line.startswith(b"step ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(timeout=60) == 0, said
    assert weights(run) and "stopping" not in said
