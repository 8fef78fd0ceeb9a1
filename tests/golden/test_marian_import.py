"""Marian models that transformers made become runs that compute the same, and go back as they were."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.checkpoint import LoadedRun, load_model
from seq2seq.data.tokenizer import MARIAN_FILES
from seq2seq.decoding.translator import Translator
from seq2seq.errors import ExportError
from seq2seq.export import huggingface
from seq2seq.export.exporter import export
from seq2seq.export.importer import import_marian
from tests.marian_models import CODES, sentences, write_model

transformers = pytest.importorskip("transformers")

KINDS = {
    "all": {},
    "unbiased": {"bias": False, "activation_function": "relu"},
    "unscaled": {"scale_embedding": False, "activation_function": "gelu"},
    "one vocabulary, decoder tied": {"share_encoder_decoder_embeddings": False},
    "separate, decoder tied": {"separate": True},
    "separate, untied": {"separate": True, "tie_word_embeddings": False, "activation_function": "silu"},
}


class Imported:
    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run
        self.ours: LoadedRun = load_model(run)
        self.model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        padding = self.tokenizer.convert_tokens_to_ids("<pad>")
        self.learnt = torch.arange(self.ours.config.model.target_vocab_size) != self.model.config.pad_token_id
        assert padding in (self.model.config.pad_token_id, self.ours.tokenizer.pad_id)


@pytest.fixture(scope="module", params=KINDS)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    folder = tmp_path_factory.mktemp("marian")
    write_model(folder / "model", **KINDS[request.param])
    verified = import_marian(folder / "model", folder / "run")
    assert verified is not None and verified.largest < 1e-4
    return Imported(folder / "model", folder / "run")


@torch.no_grad()
def test_logits_are_the_same(imported: Imported) -> None:
    torch.manual_seed(1)
    config = imported.ours.config.model
    source = torch.randint(config.source_vocab_size, (6, 60))
    target = torch.randint(config.target_vocab_size, (6, 64))
    mask = torch.arange(60) < torch.tensor([60, 1, 30, 7, 59, 12])[:, None]
    theirs = imported.model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target).logits
    ours, learnt = imported.ours.model(source, mask, target), imported.learnt
    torch.testing.assert_close(ours[..., learnt], theirs[..., learnt], rtol=0, atol=1e-4)
    # Padding, which no text to learn from held, leaves the others all of the probability, as `renormalize_logits` does.
    theirs[..., ~learnt] = -torch.inf
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=0, atol=1e-5)


def test_exported_again_it_is_what_it_was(imported: Imported, tmp_path: Path) -> None:
    huggingface.write(imported.ours, tmp_path)
    before = imported.model.state_dict()
    after = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        kept = imported.learnt if name == "final_logits_bias" else slice(None)
        assert torch.equal(tensor[..., kept], after[name][..., kept]), name
    for name in MARIAN_FILES:
        if (imported.folder / name).exists():
            assert (imported.folder / name).read_bytes() == (tmp_path / name).read_bytes(), name
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is transformers.MarianTokenizer
    texts = sentences("source.spm", 10)
    assert again(texts)["input_ids"] == imported.tokenizer(texts)["input_ids"]


def test_tokens_are_the_same(imported: Imported) -> None:
    ours = imported.ours.tokenizer
    odd = ["漢字 X漢 die", "", "  ber   die ", f"{CODES[0]} die gen.", ">>xyz<<die", "ﬁn ➀"]
    sources = [*sentences("source.spm"), *odd]
    assert ours.encode_source(sources) == imported.tokenizer(sources)["input_ids"]
    targets = [*sentences("target.spm"), "漢字 the"]
    assert ours.encode_target(targets) == imported.tokenizer(text_target=targets)["input_ids"]
    for ids in ours.encode_target(targets):
        assert ours.decode_target(ids) == imported.tokenizer.decode(ids, skip_special_tokens=True)


@given(text=st.text(st.sampled_from("abdehilnrst .ßüä,>漢\u2003e\u0301"), max_size=20), ids=st.data())
def test_tokens_of_any_text_are_the_same(imported: Imported, text: str, ids: st.DataObject) -> None:
    ours = imported.ours.tokenizer
    assert ours.encode_source([text]) == imported.tokenizer([text])["input_ids"]
    drawn = ids.draw(st.lists(st.integers(0, ours.target_vocab_size - 1), max_size=10))
    assert ours.decode_target(drawn) == imported.tokenizer.decode(drawn, skip_special_tokens=True)


def test_translations_are_those_of_generate(imported: Imported, tmp_path: Path) -> None:
    """Greedy, since random weights seldom end: of a trained model, test_marian.py compares beams."""
    config = replace(imported.ours.config.decoding, beam_size=1, max_length_ratio=0.0, max_length_offset=12)
    texts = sentences("source.spm", 20)
    ours = Translator(imported.ours.model, imported.ours.tokenizer, config).translate(texts)
    out = imported.model.generate(
        **imported.tokenizer(texts, return_tensors="pt", padding=True), num_beams=1, max_new_tokens=11,
        suppress_tokens=list(imported.ours.tokenizer.never_output), length_penalty=None,
    )  # fmt: skip
    for mine, row in zip(ours, out[:, 1:].tolist(), strict=True):
        said = row[: row.index(0)] if 0 in row else row
        assert list(mine.hypotheses[0].tokens) == said
        assert mine.text == imported.tokenizer.decode(said, skip_special_tokens=True)


def test_shared_inputs_without_a_tied_output(tmp_path: Path) -> None:
    """transformers 5 shares nothing then, 4 shared the inputs: where the matrices are equal they are one of ours."""
    write_model(tmp_path / "apart", tie_word_embeddings=False)
    import_marian(tmp_path / "apart", tmp_path / "run")
    assert load_model(tmp_path / "run").config.model.tied_embeddings == "none"
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "apart")
    with torch.no_grad():
        for side in (model.model.encoder, model.model.decoder):
            side.embed_tokens.weight.copy_(model.model.shared.weight)
    model.save_pretrained(tmp_path / "apart")
    import_marian(tmp_path / "apart", tmp_path / "equal")
    loaded = load_model(tmp_path / "equal")
    assert loaded.config.model.tied_embeddings == "inputs"
    (tmp_path / "out").mkdir()
    huggingface.write(loaded, tmp_path / "out")
    after = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").state_dict()
    after["final_logits_bias"][:, loaded.tokenizer.pad_id] = model.final_logits_bias[:, loaded.tokenizer.pad_id]
    assert all(torch.equal(tensor, after[name]) for name, tensor in model.state_dict().items())


def test_a_full_disk_is_told(imported: Imported, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))  # bytes of a file
    try:
        with pytest.raises(ExportError, match=r"cannot be written .*; make room, or choose another --output"):
            huggingface.write(imported.ours, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_ctranslate2_does_not_say_padding_either(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    write_model(tmp_path / "model")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        model.final_logits_bias[0, -1] = 10.0  # likelier than all else
    model.save_pretrained(tmp_path / "model")
    import_marian(tmp_path / "model", tmp_path / "run")
    export(load_model(tmp_path / "run"), "ctranslate2", tmp_path / "out", sentences=sentences("source.spm", 20))
    text = "".join(f"{line}\n" for line in sentences("source.spm", 5)).encode()
    command = [sys.executable, tmp_path / "out" / "translate.py"]
    said = subprocess.run(command, input=text, capture_output=True, check=True, timeout=60).stdout.decode()
    assert said.count("\n") == 5 and "<pad>" not in said
