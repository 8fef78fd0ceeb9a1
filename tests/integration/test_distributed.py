"""Two processes, of `torchrun` or of a training itself, make the weights of one with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seq2seq import load_config, train
from seq2seq.checkpoint import latest, read_info
from seq2seq.config import ModelConfig
from seq2seq.errors import ConfigError, TrainingError
from seq2seq.model.transformer import Transformer
from seq2seq.training import cpu_processes
from seq2seq.training.distributed import Processes
from seq2seq.training.state import Learner

from .test_resume import CONFIG, write_corpus


def launcher() -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    config = tmp_path / "config.toml"
    text = CONFIG.replace("SAMPLING", "").replace("dropout = 0.1", "dropout = 0.0").replace("steps = 24", "steps = 6")
    config.write_text(text, encoding="utf-8")
    # A bias of keys has no gradient but rounding errors; a larger epsilon keeps Adam from making full steps of these.
    settings = ("--set", "training.validate_every=3", "--set", "training.adam_epsilon=1e-5")
    job = ["-m", "seq2seq_cli", "train", str(config), "--device", "cpu", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, *job, "--output", str(tmp_path / "one"), "--set", "training.accumulate=4"]
    subprocess.run(one, check=True, capture_output=True, env=environment)
    two = [*launcher(), *job, "--output", str(tmp_path / "two"), "--set", "training.accumulate=2"]
    subprocess.run(two, check=True, capture_output=True, env=environment)
    first, second = (
        load_file(tmp_path / run / "checkpoints" / "step_00000006" / "model.safetensors") for run in ("one", "two")
    )
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("batch_tokens", "minimum_risk", "optimizer"),
    [(256, 0.0, "adamw"), (1, 0.0, "adamw"), (256, 0.5, "adamw"), (1, 0.5, "adamw"), (256, 0.0, "muon")],
)
def test_helpers_equal_one_process(tmp_path: Path, batch_tokens: int, minimum_risk: float, optimizer: str) -> None:
    """With batches of many pairs, and of one pair, which leaves nothing for the helper."""
    write_corpus(tmp_path)
    path = tmp_path / "config.toml"
    text = CONFIG.replace("SAMPLING", "").replace("dropout = 0.1", "dropout = 0.0").replace("steps = 24", "steps = 6")
    path.write_text(text.replace("validate_every = 12", "validate_every = 3"), encoding="utf-8")
    settings = [
        f"training.batch_tokens={batch_tokens}", "training.adam_epsilon=1e-5", f"training.minimum_risk={minimum_risk}",
        "training.risk_from=0.5", "training.risk_candidates=3", "training.validation_metric=bleu",
        f"training.optimizer={optimizer}",
    ]  # fmt: skip
    threads = torch.get_num_threads()
    weights = []
    for number in (1, 2):
        config = load_config(path, [*settings, f"training.cpu_processes={number}"])
        run = train(config, tmp_path / f"run{number}", device="cpu")
        weights.append(load_file(run / "checkpoints" / "step_00000006" / "model.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-5)
    assert torch.get_num_threads() == threads


_GATHERING = """\
import sys
import torch
from torch import distributed as dist
from seq2seq.training.distributed import Processes
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", store=dist.FileStore(folder + "/meeting", 2), rank=rank, world_size=2)
for dtype in (torch.float32, torch.bfloat16):
    own = torch.tensor([[0.1, -2.0], [1e9, float(rank)]], dtype=dtype).t()
    found = Processes(rank, 2).gather(own)
    assert found.dtype == dtype and torch.equal(found[2 * rank : 2 * rank + 2], own), found
    assert found[:, 1].tolist() == [own[0, 1].item(), 0.0, own[0, 1].item(), 1.0], found
dist.destroy_process_group()
"""


def test_tensors_are_gathered_as_they_are(tmp_path: Path) -> None:
    """In types, too, that gloo does not know."""
    commands = [[sys.executable, "-c", _GATHERING, str(tmp_path), str(rank)] for rank in (0, 1)]
    both = [subprocess.Popen(each, stderr=subprocess.PIPE) for each in commands]
    try:
        for process in both:
            _, said = process.communicate(timeout=100)
            assert process.returncode == 0, said.decode("utf-8")
    finally:  # one waits for the other
        for process in both:
            process.kill()


def test_what_ended_by_time_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock that is ahead, whichever process saves: going on finds nothing to do."""
    write_corpus(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("SAMPLING", "max_minutes = 0.5"), encoding="utf-8")
    config = load_config(path, ["training.validate_every=0", "training.log_every=1"])
    most = Processes.most

    def ahead(self: Processes, value: float, device: torch.device) -> float:
        return most(self, value + 10 if value > 0.0 else value, device)  # but not whether to stop, which is False

    monkeypatch.setattr(Processes, "most", ahead)
    run = train(config, tmp_path / "run", device="cpu")
    found = latest(run)
    assert found is not None and read_info(found).training_seconds >= 30 and read_info(found).step < 24
    monkeypatch.undo()
    train(config, run, device="cpu", resume=True)
    assert latest(run) == found


def test_a_helper_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("SAMPLING", "cpu_processes = 2"), encoding="utf-8")
    started: list[subprocess.Popen[bytes]] = []
    start, update = cpu_processes._start, Learner.update

    def remembered(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))
        return started[-1]

    def updated(*arguments: Any) -> torch.Tensor:
        started[0].kill()
        return update(*arguments)

    monkeypatch.setattr(cpu_processes, "_start", remembered)
    monkeypatch.setattr(Learner, "update", updated)
    with pytest.raises(TrainingError, match="killed, maybe for want of memory; go on with --resume"):
        train(load_config(path), tmp_path / "run", device="cpu")


def test_a_helper_that_dies_before_it_joins_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    (tmp_path / "random.py").write_text("raise SystemExit('not ours')")  # in the working folder; must not be imported
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("SAMPLING", "cpu_processes = 3"), encoding="utf-8")
    start = cpu_processes._start

    def killed(folder: Path, run: Path, rank: int) -> subprocess.Popen[bytes]:
        helper = start(folder, run, rank)
        if rank == 2:
            helper.kill()
        return helper

    monkeypatch.setattr(cpu_processes, "_start", killed)
    with pytest.raises(TrainingError, match="was killed, maybe for want of memory; try again, or with"):
        train(load_config(path), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    model = Transformer(ModelConfig(source_vocab_size=300, target_vocab_size=300))
    with pytest.raises(ConfigError, match="cpu_processes` and a model"):
        train(load_config(path), tmp_path / "run", model=model, device="cpu")


def test_processes_may_drop_other_layers(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    config = tmp_path / "config.toml"
    text = CONFIG.replace("SAMPLING", "layer_drop = 0.5\nr_drop = 1.0").replace("steps = 24", "steps = 6")
    config.write_text(text.replace("validate_every = 12", "validate_every = 0"), encoding="utf-8")
    job = ["-m", "seq2seq_cli", "train", str(config), "--device", "cpu", "--output", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher(), *job], check=True, capture_output=True, env=environment, timeout=120)
    tensors = load_file(tmp_path / "run" / "checkpoints" / "step_00000006" / "training.safetensors")
    assert tensors["optimizer_steps"].item() == 6
    assert all(tensor.any() for name, tensor in tensors.items() if name.startswith("exp_avg.") and "norm" in name)
