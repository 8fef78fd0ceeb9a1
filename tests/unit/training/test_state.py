"""The learner: updates, moving average, and a state that comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.errors import CheckpointError
from seq2seq.model.transformer import Transformer
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Position
from seq2seq.training.state import Learner, TrainState
from seq2seq.weights import read_tensors

CPU = torch.device("cpu")


def learner(seed: int = 1, **training: object) -> Learner:
    torch.manual_seed(seed)
    model = Transformer(
        ModelConfig(
            encoder_layers=1, decoder_layers=1, d_model=8, d_ff=8, num_heads=2, source_vocab_size=9,
            target_vocab_size=9,
        )
    )  # fmt: skip
    return Learner(model, TrainingConfig(**training), CPU, Processes())


def one_update(it: Learner, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in it.parameters.values():
        parameter.grad = torch.randn_like(parameter)
    it.update(learning_rate=0.01, clip_norm=1.0)


@pytest.mark.parametrize(("ema_decay", "optimizer"), [(0.0, "adamw"), (0.9, "adamw"), (0.9, "muon")])
def test_saved_and_loaded_goes_on_the_same(tmp_path: Path, ema_decay: float, optimizer: str) -> None:
    first = learner(ema_decay=ema_decay, optimizer=optimizer)
    for seed in range(3):
        one_update(first, seed)
    state = TrainState(step=3, position=Position(1, 2, 5), target_tokens_seen=99, best_score=4.0)
    folder = first.save(tmp_path, state, "hash", 12.5)
    second = learner(seed=2, ema_decay=ema_decay, optimizer=optimizer)
    assert second.load(folder) == (state, 12.5)
    for it in (first, second):
        one_update(it, 7)
    for name, parameter in first.parameters.items():
        assert torch.equal(parameter, second.parameters[name])
        if ema_decay:
            assert torch.equal(first.ema[name], second.ema[name])


def test_a_checkpoint_from_before_there_were_pools_is_in_the_first_one(tmp_path: Path) -> None:
    it = learner()
    folder = it.save(tmp_path, TrainState(step=3, position=Position(1, 2)), "hash", 1.0)
    told = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    del told["pool_in_epoch"]
    (folder / "checkpoint.json").write_text(json.dumps(told), encoding="utf-8")
    assert it.load(folder)[0].position == Position(1, 2, 0)


def test_moving_average_is_what_is_saved_and_validated(tmp_path: Path) -> None:
    it = learner(ema_decay=0.5)
    start = {name: parameter.detach().clone() for name, parameter in it.parameters.items()}
    one_update(it, 1)
    expected = {name: 0.1 * start[name] + 0.9 * parameter.detach() for name, parameter in it.parameters.items()}
    raw = {name: parameter.detach().clone() for name, parameter in it.parameters.items()}
    with it.averaged_weights():
        torch.testing.assert_close(dict(it.parameters), expected)
    assert all(torch.equal(parameter, raw[name]) for name, parameter in it.parameters.items())
    folder = it.save(tmp_path, TrainState(step=1), "hash", 0.0)
    torch.testing.assert_close(read_tensors(folder / "model.safetensors"), expected)


def test_moving_average_soon_holds_nothing_of_the_initial_weights() -> None:
    it = learner(ema_decay=0.999)
    for parameter in it.parameters.values():
        parameter.data.zero_()
    for average in it.ema.values():
        average.fill_(1.0)
    for step in range(1, 201):
        it.update(learning_rate=0.0, clip_norm=1.0)
        if step == 1:
            assert all(torch.allclose(average, torch.tensor(0.1)) for average in it.ema.values())
    assert all(float(average.max()) < 1e-6 for average in it.ema.values())


def test_moving_average_has_the_decay_that_is_asked_for_when_training_is_long(tmp_path: Path) -> None:
    it = learner(ema_decay=0.9)
    it.load(it.save(tmp_path, TrainState(step=1000), "hash", 0.0))
    for parameter in it.parameters.values():
        parameter.data.zero_()
    for average in it.ema.values():
        average.fill_(1.0)
    it.update(learning_rate=0.0, clip_norm=1.0)
    assert all(torch.allclose(average, torch.tensor(0.9)) for average in it.ema.values())


def test_a_changed_average_cannot_be_resumed(tmp_path: Path) -> None:
    plain = learner()
    one_update(plain, 1)
    folder = plain.save(tmp_path, TrainState(step=1), "hash", 0.0)
    with pytest.raises(CheckpointError, match="ema_decay"):
        learner(ema_decay=0.9).load(folder)


@pytest.mark.parametrize(("before", "after"), [("adamw", "muon"), ("muon", "adamw")])
def test_a_changed_optimiser_cannot_be_resumed(tmp_path: Path, before: str, after: str) -> None:
    first = learner(optimizer=before)
    one_update(first, 1)
    folder = first.save(tmp_path, TrainState(step=1), "hash", 0.0)
    with pytest.raises(CheckpointError, match=r"training\.optimizer"):
        learner(optimizer=after).load(folder)


@pytest.mark.parametrize("clip_norm", [1.0, 0.0])
def test_clipping_bounds_the_gradient_and_tells_its_norm(clip_norm: float, monkeypatch: pytest.MonkeyPatch) -> None:
    it, applied = learner(), []
    for parameter in it.parameters.values():
        parameter.grad = torch.full_like(parameter, 10.0)
    norm = 10 * sum(parameter.numel() for parameter in it.parameters.values()) ** 0.5

    def step() -> None:
        applied.append(sum(float(parameter.grad.square().sum()) for parameter in it.parameters.values()) ** 0.5)

    monkeypatch.setattr(it.optimizer, "step", step)
    assert float(it.update(0.01, clip_norm)) == pytest.approx(norm, rel=1e-4)
    assert applied == pytest.approx([clip_norm or norm], rel=1e-4)


def test_only_matrices_decay() -> None:
    decaying, other = learner(weight_decay=0.1).optimizer.param_groups
    assert decaying["weight_decay"] == 0.1
    assert other["weight_decay"] == 0.0
    assert all(parameter.dim() == 1 for parameter in other["params"])


def test_best_and_patience() -> None:
    state = TrainState()
    assert state.note_validation({"bleu": 5.0, "loss": 3.0}, "bleu")
    assert not state.note_validation({"bleu": 4.0, "loss": 2.0}, "bleu")
    assert state.validations_since_best == 1
    assert state.note_validation({"bleu": 6.0, "loss": 2.0}, "bleu")
    assert (state.best_score, state.validations_since_best) == (6.0, 0)
    state = TrainState()
    assert state.note_validation({"loss": 3.0}, "loss")
    assert state.note_validation({"loss": 2.0}, "loss")


def test_without_its_average_training_goes_on_from_its_own_weights(tmp_path: Path) -> None:
    averaged = learner(ema_decay=0.5)
    one_update(averaged, 1)
    folder = averaged.save(tmp_path, TrainState(step=1), "hash", 0.0)
    plain = learner(seed=2)
    plain.load(folder)
    assert all(torch.equal(parameter, plain.parameters[name]) for name, parameter in averaged.parameters.items())


def test_a_learner_is_saved_before_its_first_update(tmp_path: Path) -> None:
    folder = learner().save(tmp_path, TrainState(step=1), "hash", 0.0)
    learner(seed=2).load(folder)
