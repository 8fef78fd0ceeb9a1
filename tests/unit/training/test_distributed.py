"""Processes on GPUs, of which there are none here: when they part, and what is told if they do not fit together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from cli.main import main
from seq2seq.config import Config, CorpusConfig, DataConfig, ModelConfig, TokenizerConfig, TrainingConfig
from seq2seq.errors import ConfigError, Interrupted, TrainingError
from seq2seq.training import distributed, trainer
from seq2seq.training.distributed import Processes, device_of_process, is_awaited, processes
from seq2seq.training.trainer import train

GPU = torch.device("cuda:0")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretended processes on GPUs; what has been done with them."""
    done: list[str] = []
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(f"set {device}"))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: done.append(f"join by {backend}"))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("leave"))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    return done


def test_processes_part_at_the_end_and_when_all_are_interrupted(group: list[str]) -> None:
    with processes(GPU) as joined:
        assert (joined.rank, joined.size) == (1, 2)
    assert group == ["set cuda:0", "join by nccl", "leave"]
    with pytest.raises(Interrupted), processes(GPU):
        raise Interrupted("all of them")
    assert group[-2:] == ["join by nccl", "leave"]


def test_an_environment_that_does_not_say_where_to_meet_is_told(
    group: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR")
    with pytest.raises(ConfigError, match=r"MASTER_ADDR: .* though WORLD_SIZE is 2; start it by"), processes(GPU):
        pass
    assert group == []


@pytest.mark.parametrize(("device", "last"), [("cuda:0", "join by nccl"), ("cpu", "leave")])
def test_one_that_fails_does_not_wait_for_the_others(group: list[str], device: str, last: str) -> None:
    """NCCL would; without a GPU, the others are told by leaving."""
    with pytest.raises(TrainingError), processes(torch.device(device)):
        raise TrainingError("of this one alone")
    assert group[-1] == last


def test_an_error_among_others_ends_the_process_when_it_is_told(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
    assert is_awaited()

    def end(status: int) -> None:
        raise RuntimeError(f"ended with {status}")

    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(RuntimeError, match="ended with 1"):
        main(["train", "nowhere.toml", "--output", "nowhere"])
    assert "nowhere.toml" in capsys.readouterr().err


def test_waiting_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int] | None] = []

    def barrier(device_ids: list[int] | None) -> None:
        asked.append(device_ids)

    monkeypatch.setattr(dist, "barrier", barrier)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    for backend in ("nccl", "gloo"):
        monkeypatch.setattr(dist, "get_backend", lambda backend=backend: backend)
        Processes(0, 2).wait()
    assert asked == [[3], None]


def test_a_process_without_a_number_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="LOCAL_RANK"):
        device_of_process("auto")
    assert device_of_process("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of_process("cuda") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2: this machine has 2 GPUs; use torchrun --nproc-per-node 2"):
        device_of_process("auto")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for side in ("a", "b"):
        (tmp_path / side).write_text("".join(f"{i} and {i % 7} is {i * i}\n" for i in range(60)), encoding="utf-8")
    corpus = CorpusConfig(source=str(tmp_path / "a"), target=str(tmp_path / "b"))
    return Config(
        data=DataConfig(train=(corpus,)),
        tokenizer=TokenizerConfig(algorithm="bpe", vocab_size=280),
        model=ModelConfig(encoder_layers=1, decoder_layers=1, d_model=8, d_ff=8, num_heads=2),
        training=TrainingConfig(steps=2, validate_every=0, batch_tokens=64),
    )


@dataclass(frozen=True)
class Pretended(Processes):
    """The first of two processes, which never meets the other one."""

    finds_run: bool = True  # the other one
    step: int = 0  # the other one's
    asked: list[float] = field(default_factory=list)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Nothing is added."""
        return value

    def take_from_first(self, values: Iterable[torch.Tensor]) -> None:
        """They are the first one's."""

    def most(self, value: float, device: torch.device) -> float:
        """The other one's answers, in order: is there no run, the step, and its negative."""
        answers = [not self.finds_run, self.step, -self.step]
        self.asked.append(value)
        return max([value, *answers[len(self.asked) - 1 :][:1]])

    def wait(self) -> None:
        """There is nobody."""


def train_beside(other: Pretended, config: Config, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def those(*_: object) -> Iterator[Processes]:
        yield other

    monkeypatch.setattr(trainer, "training_processes", those)
    train(config, run, device="cpu")


def test_processes_that_see_other_folders_are_told(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="not all processes find the run"):
        train_beside(Pretended(0, 2, finds_run=False), config, run, monkeypatch)
    assert not run.exists()
    with pytest.raises(TrainingError, match="different checkpoints"):
        train_beside(Pretended(0, 2, step=100), config, run, monkeypatch)
    assert not run.exists()
    train_beside(Pretended(0, 2), config, run, monkeypatch)
    assert (run / "checkpoints" / "step_00000002").exists()
