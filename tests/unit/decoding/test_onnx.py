"""What an ONNX folder must be; that its engine finds the same as ours is in tests/golden/test_onnx_models.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from seq2seq.decoding import onnx as engine_module
from seq2seq.decoding.onnx import DECODER, ENCODER, SIGNATURES, OnnxCache, OnnxEngine
from seq2seq.errors import DecodingError

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def write_file(path: Path, vocabulary: int = 7) -> None:
    """A file with the right names, which computes nothing."""
    float32 = onnx.TensorProto.FLOAT
    inputs, outputs = SIGNATURES[path.name]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [inputs[0]], [name]) for name in outputs],
        "nothing",
        [onnx.helper.make_tensor_value_info(name, float32, ["any", vocabulary]) for name in inputs],
        [onnx.helper.make_tensor_value_info(name, float32, ["any", vocabulary]) for name in outputs],
    )
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


@pytest.fixture
def folder(tmp_path: Path, tokenizer) -> Path:
    write_file(tmp_path / ENCODER)
    write_file(tmp_path / DECODER, tokenizer.target_vocab_size)
    OnnxEngine(tmp_path, tokenizer, 64, "cpu")
    return tmp_path


def refusal(folder: Path, tokenizer, device: str = "cpu") -> str:
    with pytest.raises(DecodingError) as caught:
        OnnxEngine(folder, tokenizer, 64, device)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(folder: Path, tokenizer) -> None:
    (folder / ENCODER).unlink()
    assert refusal(folder, tokenizer) == f"{folder / ENCODER}: is missing; export the run again"


@pytest.mark.parametrize("content", [b"", b"\0\1", b"no model at all\n" * 9])
def test_a_damaged_file_is_named(folder: Path, tokenizer, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / DECODER).write_bytes(content)
    assert refusal(folder, tokenizer).startswith(f"{folder / DECODER}: ")
    assert capfd.readouterr() == ("", ""), "onnxruntime would log it too"


def test_another_model_is_refused(folder: Path, tokenizer) -> None:
    (folder / ENCODER).replace(folder / DECODER)
    write_file(folder / ENCODER)
    assert "decoder.onnx: was not written by `seq2seq export --format onnx`" in refusal(folder, tokenizer)


def test_a_tokenizer_of_another_size_is_refused(folder: Path, tokenizer) -> None:
    write_file(folder / DECODER, 99)
    size = tokenizer.target_vocab_size
    assert f"has 99 target tokens, and the tokenizer beside it has {size}" in refusal(folder, tokenizer)


def test_a_gpu_that_onnxruntime_cannot_use(folder: Path, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(engine_module, "choose_device", lambda name: torch.device("cuda", 1))
    assert "device 'cuda:1': this onnxruntime cannot use a GPU" in refusal(folder, tokenizer, "cuda:1")
    OnnxEngine(folder, tokenizer, 64, "auto")


def test_a_missing_package_is_named(folder: Path, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'seq2seq[onnx]'" in refusal(folder, tokenizer)


def test_rows_and_sentences_of_the_cache() -> None:
    cache = OnnxCache(torch.arange(3.0).expand(2, 2, 1, 1, 1, 3).transpose(2, 5), torch.ones(3, 4).bool(), 2)
    assert (cache.num_sentences, cache.beam_size, cache.past.shape) == (3, 2, (2, 2, 3, 2, 1, 0, 1))
    rows = torch.arange(6.0).view(3, 2, 1, 1, 1)
    cache.past = rows.expand(2, 2, 3, 2, 1, 1, 1)
    cache.select(torch.tensor([1, 1, 2, 3, 5, 4]))
    assert cache.past[1, 1].flatten().tolist() == [1, 1, 2, 3, 5, 4]
    cache.keep_sentences(torch.tensor([0, 2]))
    assert (cache.num_sentences, cache.past[1, 1].flatten().tolist()) == (2, [1, 1, 5, 4])
    assert cache.cross[1, 1].flatten().tolist() == [0, 2]
    assert cache.source_mask.shape == (2, 4)
