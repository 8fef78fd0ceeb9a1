from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.data.tokenizer import MARIAN_FILES, Tokenizer
from seq2seq.errors import TokenizerError
from tests.marian_models import sentences, write_tokenizer

TEXTS = [*sentences("source.spm", 30, seed=2), "漢字 die X漢", "", "  ber   die ", "</s> die", "➀ ﬁn"]


def read_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MARIAN_FILES if (folder / name).exists()}


def make(folder: Path, separate: bool = False, algorithm: str = "unigram") -> MarianTokenizer:
    sizes = write_tokenizer(folder, separate, algorithm)
    return MarianTokenizer(read_files(folder), start_id=sizes["decoder_vocab_size"] - 1)


@pytest.fixture(scope="module", params=["joint", "separate"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MarianTokenizer:
    return make(tmp_path_factory.mktemp("marian"), separate=request.param == "separate")


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> MarianTokenizer:
    return make(tmp_path_factory.mktemp("marian"))


def test_special_ids_come_from_the_vocabulary(tokenizer: MarianTokenizer) -> None:
    last = tokenizer.target_vocab_size - 1
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.eos_id, tokenizer.start_id) == (last, 1, 0, last)
    assert tokenizer.target_tokens([0, 1, last]) == ["</s>", "<unk>", "<pad>"]
    assert tokenizer.never_output == (1, last)
    assert tokenizer.joint == ("target_vocab.json" not in tokenizer.files)


def test_encode_and_decode(tokenizer: MarianTokenizer) -> None:
    for side, text in (("source", "die straße läuft."), ("target", "the dog street.")):
        vocabulary = getattr(tokenizer, side)
        (ids,) = vocabulary.encode([text])
        assert ids[-1] == tokenizer.eos_id
        assert vocabulary.tokens(ids[:-1]) == [
            piece if piece in vocabulary.tokens(range(vocabulary.size)) else "<unk>"
            for piece in vocabulary.pieces([text])[0]
        ]
        assert vocabulary.join(vocabulary.pieces([text])[0]) == text
    assert tokenizer.decode_target(tokenizer.encode_target(["the dog street."])[0]) == "the dog street."
    assert tokenizer.encode_source([""]) == [[tokenizer.eos_id]]


@given(text=st.text(max_size=30))
def test_any_text_is_encoded(joint: MarianTokenizer, text: str) -> None:
    (ids,) = joint.encode_source([text])
    assert ids[-1] == joint.eos_id
    assert all(0 <= token < joint.source_vocab_size for token in ids)
    assert "\n" not in joint.decode_source(ids)


def test_language_codes_are_one_token(joint: MarianTokenizer) -> None:
    (with_code, without) = joint.encode_source([">>fra<< die gen", "die gen"])
    assert joint.source.tokens(with_code) == [">>fra<<", *joint.source.tokens(without)]
    assert joint.encode_source([">>xyz<< die"])[0][0] == joint.unk_id
    assert joint.source_pieces(">> die << gen")[0] != ">> die <<"


def test_pieces_of_the_other_side_are_known(joint: MarianTokenizer) -> None:
    """What a SentencePiece model cannot cut may have an id, for the vocabulary is of both sides."""
    ids = json.loads(joint.files["vocab.json"])
    foreign = [piece for piece in ids if len(piece) == 1 and joint.source._processor.piece_to_id(piece) == 0]
    assert foreign, "the sides should differ"
    (encoded,) = joint.encode_source([f"die{foreign[0]}"])
    assert ids[foreign[0]] in encoded


class TestSampling:
    def test_same_text_in_other_pieces(self, tokenizer: MarianTokenizer) -> None:
        texts = sentences("source.spm", 20, seed=2)
        best = tokenizer.encode_source(texts)
        sampled = tokenizer.encode_source(texts, 0.3, seed=5)
        assert sampled == tokenizer.encode_source(texts, 0.3, seed=5) != best
        for mine, other in zip(sampled, best, strict=True):
            assert tokenizer.decode_source(mine) == tokenizer.decode_source(other)

    def test_special_tokens_stay(self, joint: MarianTokenizer) -> None:
        for seed in range(20):
            (ids,) = joint.encode_source([">>fra<< die 漢 gen"], 0.1, seed)
            tokens = joint.source.tokens(ids)
            assert (tokens[0], tokens[-1], tokens.count("<unk>")) == (">>fra<<", "</s>", 1)
            assert ">" not in "".join(tokens[1:-1]).replace("<unk>", "")

    def test_byte_pairs_are_refused(self, tmp_path: Path) -> None:
        tokenizer = make(tmp_path, algorithm="bpe")
        assert tokenizer.algorithm == "bpe"
        with pytest.raises(TokenizerError, match=r"`training.subword_sampling` = 0.1: .*; set it to 0$"):
            tokenizer.encode_source(["die"], 0.1)


class TestFolder:
    def test_kept_byte_for_byte(self, tokenizer: MarianTokenizer, tmp_path: Path) -> None:
        tokenizer.save(tmp_path / "t")
        loaded = Tokenizer.load(tmp_path / "t")
        assert isinstance(loaded, MarianTokenizer)
        assert read_files(tmp_path / "t") == tokenizer.files
        assert (loaded.hash, loaded.never_output, loaded.joint) == (
            tokenizer.hash, tokenizer.never_output, tokenizer.joint,
        )  # fmt: skip
        assert loaded.encode_source(TEXTS) == tokenizer.encode_source(TEXTS)
        loaded.save(tmp_path / "t")

    def test_hash_covers_everything(self, joint: MarianTokenizer) -> None:
        others = [MarianTokenizer(joint.files, 0)]
        for name in ("source.spm", "target.spm"):
            swapped = {"source.spm": joint.files["target.spm"], "target.spm": joint.files["source.spm"]}
            others.append(MarianTokenizer({**joint.files, name: swapped[name]}, joint.start_id))
        others.append(MarianTokenizer(joint.files, joint.start_id, 200, 200))
        assert len({joint.hash, *(other.hash for other in others)}) == 5

    @pytest.mark.parametrize("name", ["source.spm", "vocab.json"])
    @pytest.mark.parametrize("content", [None, b"{}"])
    def test_damaged_file(self, joint: MarianTokenizer, tmp_path: Path, name: str, content: bytes | None) -> None:
        joint.save(tmp_path / "t")
        (tmp_path / "t" / name).unlink()
        if content is not None:
            (tmp_path / "t" / name).write_bytes(content)
        with pytest.raises(TokenizerError, match=rf"{name}: (missing|damaged or replaced)"):
            Tokenizer.load(tmp_path / "t")

    @pytest.mark.parametrize("setting", ["start_id", '"source.spm"', "[files]"])
    def test_damaged_description(self, joint: MarianTokenizer, tmp_path: Path, setting: str) -> None:
        joint.save(tmp_path / "t")
        path = tmp_path / "t" / "tokenizer.toml"
        lines = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join(line for line in lines if not line.startswith(setting)), encoding="utf-8")
        with pytest.raises(TokenizerError, match=r"tokenizer\.toml: damaged"):
            Tokenizer.load(tmp_path / "t")


class TestVocabularyFile:
    def build(self, joint: MarianTokenizer, content: object, start_id: int = 0, size: int = 0) -> MarianTokenizer:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        return MarianTokenizer({**joint.files, "vocab.json": text}, start_id, size, size)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff", "not JSON"), (["</s>"], "does not give each piece an id"), ({}, "does not give"),
            ({"a": "1"}, "does not give"), ({"a": -1}, "does not give"), ({"a": 1, "b": 1}, "two pieces the same id"),
            ({"</s>": 0, "<pad>": 1}, "has no <unk>"),
        ],
    )  # fmt: skip
    def test_bad_content(self, joint: MarianTokenizer, content: object, message: str) -> None:
        with pytest.raises(TokenizerError, match=message):
            self.build(joint, content)

    def test_too_few_embeddings(self, joint: MarianTokenizer) -> None:
        with pytest.raises(TokenizerError, match=r"goes up to id \d+, but the model has 100 embeddings"):
            MarianTokenizer(joint.files, joint.start_id, 100, 100)

    def test_start_must_be_in_range(self, joint: MarianTokenizer) -> None:
        size = joint.target_vocab_size
        with pytest.raises(TokenizerError, match=f"id {size} of the start token: the target's ids are 0 to {size - 1}"):
            MarianTokenizer(joint.files, size)

    def test_embeddings_without_a_piece_are_never_output(self, joint: MarianTokenizer) -> None:
        size = joint.target_vocab_size
        padded = MarianTokenizer(joint.files, size + 1, size + 2, size + 2)
        assert padded.never_output == (1, size - 1, size, size + 1)
        assert padded.target_tokens([size]) == [f"<id:{size}>"]
        assert padded.decode_target([size, *padded.encode_target(["the dog"])[0]]) == "the dog"
        assert len(set(padded.target_tokens(range(size + 2)))) == size + 2

    def test_the_end_may_start(self, joint: MarianTokenizer) -> None:
        tokenizer = MarianTokenizer(joint.files, joint.eos_id)
        assert tokenizer.never_output == joint.never_output

    def test_both_sides_must_end_alike(self, tmp_path: Path) -> None:
        tokenizer = make(tmp_path, separate=True)
        ids = json.loads(tokenizer.files["target_vocab.json"])
        ids["</s>"], ids["<unk>"] = ids["<unk>"], ids["</s>"]
        with pytest.raises(TokenizerError, match="different ids for </s>"):
            MarianTokenizer({**tokenizer.files, "target_vocab.json": json.dumps(ids).encode()}, tokenizer.start_id)
