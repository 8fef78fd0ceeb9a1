"""The precision that a device trains in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from seq2seq import devices
from seq2seq.devices import autocast, memory_mb, precision_on
from seq2seq.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_asked_for_is_taken(device: torch.device) -> None:
    assert [precision_on(device, each) for each in ("float32", "bfloat16", "float16")] == [
        "float32", "bfloat16", "float16"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "precision"),
    [("_is_avx512_bf16_supported", "bfloat16"), ("_is_amx_tile_supported", "bfloat16"), ("other", "float32")],
)
def test_auto_on_a_processor_is_what_it_has(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(**{name: lambda: True}))  # a torch without the other functions
    assert precision_on(CPU, "auto") == precision


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The GPUs that torch is told to ask, instead of the first one."""
    found: list[torch.device] = []

    @contextmanager
    def choose(device: torch.device) -> Iterator[None]:
        found.append(device)
        yield
        found.append(GPU)

    monkeypatch.setattr(torch.cuda, "device", choose)
    return found


def test_auto_on_a_gpu_is_bfloat16_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, chosen: list[torch.device]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert precision_on(GPU, "auto") == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert precision_on(GPU, "auto") == "bfloat16"


def test_what_a_gpu_has_is_asked_of_that_gpu(monkeypatch: pytest.MonkeyPatch, chosen: list[torch.device]) -> None:
    second = torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: chosen[-1] != second)
    assert precision_on(second, "auto") == "float32"
    with pytest.raises(ConfigError, match="no bfloat16"):
        autocast(second, "bfloat16")


def test_memory_is_that_of_where_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "peak_memory_mb", lambda: 5)
    monkeypatch.setattr(devices, "total_memory_mb", lambda: 50)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 * 1024**2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=70 * 1024**2)
    )
    assert (memory_mb(CPU), memory_mb(GPU)) == ((5, 50), (7, 70))
