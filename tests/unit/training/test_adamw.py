"""The optimiser is torch's, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import torch

from seq2seq.training.adamw import AdamW


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((5, 3), (40, 17), (3,))]


def grouped(parameters: list[torch.Tensor]) -> list[dict[str, Any]]:
    return [{"params": parameters[:2], "weight_decay": 0.1}, {"params": parameters[2:], "weight_decay": 0.0}]


def test_updates_are_those_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    options = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-9}
    optimizer = AdamW(grouped(ours), **options)
    expected = torch.optim.AdamW(grouped(theirs), **options, fused=True)
    for step in range(5):
        for group in (*optimizer.param_groups, *expected.param_groups):
            group["lr"] = 0.01 / (step + 1)
        gradients = [torch.randn_like(each) for each in ours]
        for ps in (ours, theirs):
            for parameter, gradient in zip(ps, gradients, strict=True):
                parameter.grad = gradient.clone()
        if step == 2:  # one without a gradient stays as it is
            ours[1].grad = theirs[1].grad = None
        optimizer.step()
        expected.step()
        for own, other in zip(ours, theirs, strict=True):
            assert torch.equal(own, other)
            for name, value in expected.state[other].items():
                assert torch.equal(optimizer.state[own][name], value)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


def test_a_training_step_does_not_import_the_compiler() -> None:
    """Which takes longer than all else before the first step but the import of torch."""
    program = """
import sys, torch
from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.model.transformer import Transformer
from seq2seq.training.distributed import Processes
from seq2seq.training.state import Learner
sizes = ModelConfig(d_model=8, d_ff=8, num_heads=2, source_vocab_size=9, target_vocab_size=9)
learner = Learner(Transformer(sizes), TrainingConfig(), torch.device("cpu"), Processes())
for parameter in learner.parameters.values():
    parameter.grad = torch.ones_like(parameter)
learner.update(0.01, clip_norm=1.0)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
