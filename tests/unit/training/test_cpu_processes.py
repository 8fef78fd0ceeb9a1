"""How many processes share batches; that they compute the same is in tests/integration/test_distributed.py."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import TrainingConfig
from seq2seq.errors import ConfigError
from seq2seq.training import cpu_processes
from seq2seq.training.cpu_processes import num_processes

CPU = torch.device("cpu")


@pytest.mark.parametrize(("asked", "threads", "number"), [(0, 1, 1), (0, 2, 2), (0, 64, 4), (1, 64, 1), (6, 2, 6)])
def test_as_many_as_asked_for_or_one_for_each_core(
    asked: int, threads: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert num_processes(TrainingConfig(cpu_processes=asked), CPU) == number


def test_more_than_a_machine_can_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_processes, "cores", lambda: 2)
    assert num_processes(TrainingConfig(cpu_processes=8), CPU) == 8
    with pytest.raises(ConfigError, match=r"`training\.cpu_processes` = 9999: this machine has 2 cores; give no more"):
        num_processes(TrainingConfig(cpu_processes=9999), CPU)


def test_none_beside_a_gpu_or_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(cpu_processes=3)
    assert num_processes(config, torch.device("cuda")) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert num_processes(config, CPU) == 1
