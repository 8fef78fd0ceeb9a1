"""The precision that a device trains in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from seq2seq.devices import precision_on

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


def test_auto_on_a_gpu_is_bfloat16_where_it_is_not_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert precision_on(GPU, "auto") == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert precision_on(GPU, "auto") == "bfloat16"
