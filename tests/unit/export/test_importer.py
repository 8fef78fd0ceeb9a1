from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from seq2seq.checkpoint import load_model
from seq2seq.config import load_config
from seq2seq.errors import ExportError
from seq2seq.export.huggingface import HuggingFaceModel
from seq2seq.export.importer import compare, import_marian
from tests.marian_models import write_model

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "model"
    write_model(folder, encoder_layers=1, decoder_layers=1)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    content = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value != "absent"}), encoding="utf-8")


def refuse(folder: Path, message: str) -> None:
    run = folder.parent / "run"
    with pytest.raises(ExportError, match=message) as error:
        import_marian(folder, run, verify=False)
    assert "\n" not in str(error.value)
    assert not run.exists()
    assert not list(folder.parent.glob(".*")), "nothing half-written is left"


def test_a_run_with_what_the_folder_says(folder: Path, tmp_path: Path) -> None:
    verified = import_marian(folder, tmp_path / "run")
    assert verified is not None
    assert (verified.largest, verified.texts > 30) == (pytest.approx(0, abs=1e-4), True)
    loaded = load_model(tmp_path / "run")
    model, decoding = loaded.config.model, loaded.config.decoding
    assert (model.norm, model.activation, model.tied_embeddings, model.output_bias) == ("post", "silu", "all", True)
    assert (model.scale_embeddings, model.max_length, model.num_heads, model.d_ff) == (True, 64, 2, 24)
    assert (decoding.beam_size, decoding.length_penalty) == (4, 0.8)
    assert loaded.config.data.languages == ("de", "en")
    assert loaded.checkpoint.name == "step_00000000"
    text = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert 'path = "tokenizer"' in text
    assert load_config(tmp_path / "run" / "config.toml").tokenizer.path == str(tmp_path / "run" / "tokenizer")


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "bart"}, {"normalize_before": True}, {"normalize_embedding": True},
        {"add_final_layer_norm": True}, {"static_position_embeddings": False}, {"activation_function": "gelu_new"},
        {"decoder_start_token_id": None}, {"eos_token_id": [0, 1]},
    ],
    ids=str,
)  # fmt: skip
def test_other_models_are_refused_by_name(folder: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    ((name, value),) = values.items()
    shown = repr(value) if name == "model_type" else json.dumps(value).replace("[", r"\[").replace("]", r"\]")
    refuse(folder, f"`{name}` = {shown}: ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_attention_heads": 4}, "`encoder_attention_heads` = 4 and `decoder_attention_heads` = 2"),
        ({"decoder_ffn_dim": 7}, "`encoder_ffn_dim` = 24 and `decoder_ffn_dim` = 7"),
        ({"d_model": "wide"}, "d_model"),
        ({"d_model": 18}, "has the shape"),
        ({"encoder_layers": 3}, r"layers\.1\..* missing"),
        ({"decoder_layers": 0}, "decoder_layers"),
        ({"eos_token_id": 5}, "`eos_token_id` = 5: but vocab.json has 0 for </s>"),
        ({"decoder_start_token_id": 9999}, "id 9999 of the start token"),
        ({"vocab_size": 50, "decoder_vocab_size": 50}, r"config\.json means \[50, 16\]"),
        ({"decoder_vocab_size": 20}, "`decoder_vocab_size` = 20: but the sides share"),
        ({"vocab_size": "absent", "decoder_vocab_size": "absent"}, r"58101"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder / "config.json", **values)
    refuse(folder, message)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "source.spm", "target.spm", "vocab.json", "target_vocab.json"]
)
def test_missing_file(folder: Path, name: str) -> None:
    if name == "target_vocab.json":
        change(folder / "tokenizer_config.json", separate_vocabs=True)
    else:
        (folder / name).unlink()
    refuse(folder, name.replace(".", r"\."))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "source.spm", "vocab.json"])
def test_damaged_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"nonsense")
    refuse(folder, r"model: .*")


class TestPositions:
    def store(self, folder: Path, table: torch.Tensor) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file({**weights, "model.encoder.embed_positions.weight": table}, folder / "model.safetensors")

    def table(self) -> torch.Tensor:
        from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

        table: torch.Tensor = MarianSinusoidalPositionalEmbedding(64, 16).create_weight()
        return table

    def test_sinusoids_are_known(self, folder: Path) -> None:
        self.store(folder, self.table().half())
        import_marian(folder, folder.parent / "run")

    def test_others_are_refused(self, folder: Path) -> None:
        self.store(folder, self.table().roll(1, dims=0).contiguous())
        refuse(folder, r"weight 'model\.encoder\.embed_positions\.weight': holds no sinusoids")


class TestPickledWeights:
    def test_tensors_are_read(self, folder: Path) -> None:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        import_marian(folder, folder.parent / "run")

    def test_anything_else_is_refused(self, folder: Path) -> None:
        class Runs:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (folder / "was here",))

        torch.save({"weight": Runs()}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        refuse(folder, r"pytorch_model\.bin cannot be read")
        assert not (folder / "was here").exists()


class TestVerification:
    @pytest.fixture
    def imported(self, folder: Path, tmp_path: Path) -> Path:
        import_marian(folder, tmp_path / "run", verify=False)
        return tmp_path / "run"

    def test_a_wrong_weight_is_found(self, folder: Path, imported: Path) -> None:
        loaded = load_model(imported)
        with torch.no_grad():
            weight = loaded.model.encoder[0].self_attention.output.weight
            weight.copy_(weight.T.clone())
        with pytest.raises(ExportError, match="logits differ by"):
            compare(loaded, HuggingFaceModel.load(folder))

    def test_far_positions_are_looked_at(self, folder: Path, imported: Path) -> None:
        loaded = load_model(imported)
        loaded.model.positions[60:] = 0
        with pytest.raises(ExportError, match="logits differ by"):
            compare(loaded, HuggingFaceModel.load(folder))

    def test_another_tokenizer_is_found(self, folder: Path, imported: Path) -> None:
        shutil.copy(folder / "target.spm", folder / "source.spm")
        with pytest.raises(ExportError, match=r"the tokens of .* transformers has"):
            compare(load_model(imported), HuggingFaceModel.load(folder))

    def test_without_transformers(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(ExportError, match=r"pip install 'seq2seq\[huggingface\]', or pass --no-verify$"):
            import_marian(folder, tmp_path / "run")
        assert import_marian(folder, tmp_path / "run", verify=False) is None
        assert load_model(tmp_path / "run")


class TestHub:
    def test_fetched(self, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def snapshot(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
            calls.append((name, revision, allow_patterns))
            return str(original)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        import_marian("someone/some-model", tmp_path / "run", revision="abc", verify=False)
        ((name, revision, patterns),) = calls
        assert (name, revision) == ("someone/some-model", "abc")
        assert "pytorch_model.bin" not in patterns, "it is not fetched where there are safetensors"

    def test_unreachable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def snapshot(*_: object, **__: object) -> str:
            raise OSError("no\nnetwork")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        with pytest.raises(ExportError, match=r"^a/b \(revision c\): cannot be fetched .*: no network; .* path$"):
            import_marian("a/b", tmp_path / "run", revision="c", verify=False)

    def test_neither_folder_nor_id(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match="no such folder, nor an id on the Hugging Face Hub"):
            import_marian(tmp_path / "nowhere", tmp_path / "run", verify=False)

    def test_revision_of_a_folder(self, original: Path, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"--revision abc: .*; leave it out$"):
            import_marian(original, tmp_path / "run", revision="abc", verify=False)


def test_a_run_that_is_there_is_kept(original: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is there already; choose another --output"):
        import_marian(original, tmp_path, verify=False)
