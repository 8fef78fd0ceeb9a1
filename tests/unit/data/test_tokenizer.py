from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, sample_lines, train_tokenizer, with_tags
from seq2seq.errors import TokenizerError


def test_sides_and_special_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.joint
    assert tokenizer.source is tokenizer.target
    assert tokenizer.source_vocab_size == tokenizer.target_vocab_size == 330
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    assert tokenizer.start_id == tokenizer.bos_id
    assert tokenizer.target_tokens([0, 1, 2, 3]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert tokenizer.decode_target(tokenizer.encode_target(["a dog"])[0]) == "a dog"
    assert "".join(tokenizer.source_pieces("der die")) == "▁der▁die"


class Train:
    """Trains with some settings changed, into a folder of its own."""

    def __init__(self, config: TokenizerConfig, source: list[str], target: list[str], folder: Path) -> None:
        self.config, self.source, self.target, self.folder = config, source, target, folder

    def __call__(self, **changes: object) -> Tokenizer:
        config = replace(self.config, **changes)  # type: ignore[arg-type]
        return train_tokenizer(config, iter(self.source), iter(self.target), self.folder)


@pytest.fixture
def train(tokenizer_config: TokenizerConfig, source_lines: list[str], target_lines: list[str], tmp_path: Path) -> Train:
    return Train(tokenizer_config, source_lines, target_lines, tmp_path / "t")


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("joint", [True, False])
def test_tags_are_never_split(tokenizer_config: TokenizerConfig, train: Train, algorithm: str, joint: bool) -> None:
    config = with_tags(replace(tokenizer_config, user_symbols=("<x>",)), ("<2de>", "<x>"))
    tokenizer = train(algorithm=algorithm, joint=joint, user_symbols=config.user_symbols)
    assert tokenizer.user_symbols == ("<x>", "<2de>")
    tokenizer.check_tag("<2de>")
    for seed in range(20):
        ids = tokenizer.encode_source(["<2de> der Hund"], 0.3, seed)[0]
        assert tokenizer.source.tokens(ids)[:2] == ["▁", "<2de>"]
        assert tokenizer.decode_source(ids) == "<2de> der Hund"
    with pytest.raises(TokenizerError, match=r"tag '<2fr>': is no piece .*it knows: <x>, <2de>\); train a"):
        tokenizer.check_tag("<2fr>")


class TestTraining:
    def test_deterministic_and_quiet(
        self, train: Train, tokenizer: Tokenizer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert train().hash == tokenizer.hash
        assert capfd.readouterr() == ("", "")

    def test_sample_is_a_function_of_the_seed(self, train: Train) -> None:
        hashes = [train(vocab_size=310, max_sentences=100, seed=seed).hash for seed in (1, 1, 2)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_separate(self, train: Train) -> None:
        tokenizer = train(joint=False, vocab_size=300)
        assert not tokenizer.joint
        names = {path.name for path in train.folder.iterdir()}
        assert names == {"source.model", "target.model", "tokenizer.toml"}
        assert any("中" in piece for piece in tokenizer.source.tokens(range(300)))
        assert not any("中" in piece for piece in tokenizer.target.tokens(range(300)))
        assert tokenizer.hash == Tokenizer.load(train.folder).hash

    def test_user_symbols_are_one_piece(self, train: Train) -> None:
        text = '<2de> der a,"b in New York'
        train(user_symbols=("<2de>", 'a,"b', "New York"))
        tokenizer = Tokenizer.load(train.folder)
        for seed in range(20):
            ids = tokenizer.encode_source([text], 0.3, seed)[0]
            assert {"<2de>", 'a,"b', "New▁York"} <= set(tokenizer.target_tokens(ids))
            assert tokenizer.decode_source(ids) == text

    def test_endless_line(self, train: Train) -> None:
        train.source, train.target = [" ".join(train.source) * 5], []
        assert train(vocab_size=300).source_vocab_size == 300

    @pytest.mark.parametrize("symbol", ["", " ", "<s>", "<pad>", "<0x0A>", "a\nb", "twice"])
    def test_bad_user_symbol(self, train: Train, symbol: str) -> None:
        with pytest.raises(TokenizerError, match=r"^`tokenizer.user_symbols`: .*; remove it$"):
            train(user_symbols=("twice", symbol))

    def test_vocabulary_too_large_names_the_largest(self, train: Train) -> None:
        with pytest.raises(TokenizerError, match=r"^`tokenizer.vocab_size` = 9000: .* set it to \d+ or less$") as error:
            train(vocab_size=9000)
        assert list(train.folder.parent.iterdir()) == []
        largest = int(str(error.value).split()[-3])
        assert train(vocab_size=largest).source_vocab_size == largest

    def test_vocabulary_too_small_names_the_need(self, train: Train) -> None:
        with pytest.raises(TokenizerError, match=r"^`tokenizer.vocab_size` = 20: .* more than \d+, or lower"):
            train(vocab_size=20)

    @pytest.mark.parametrize("lines", [[], ["", " \t"], ["▅▅"]])
    def test_no_text(self, train: Train, lines: list[str]) -> None:
        train.target = lines
        with pytest.raises(TokenizerError, match=r"^no target text to train the tokenizer on: .*; check the corpus$"):
            train(joint=False, vocab_size=300)


class TestSampleLines:
    @given(size=st.integers(0, 12), lines=st.lists(st.text(max_size=3), max_size=30), seed=st.integers())
    def test_size_and_origin(self, size: int, lines: list[str], seed: int) -> None:
        full = [line for line in lines if line.strip()]
        sample = sample_lines(iter(lines), size, seed)
        assert len(sample) == (min(size, len(full)) if size else len(full))
        assert all(sample.count(line) <= full.count(line) for line in sample)
        assert sample == sample_lines(iter(lines), size, seed)

    def test_all_lines_are_as_likely(self) -> None:
        lines = [str(number) for number in range(20)]
        chosen = [line for seed in range(2000) for line in sample_lines(lines, 5, seed)]
        assert all(400 < chosen.count(line) < 600 for line in lines)  # 500 expected, 19 is one standard deviation

    def test_long_lines_are_cut(self) -> None:
        assert len(sample_lines(["a" * 1_000_000], 1, 1)[0]) == 10_000


class TestFolder:
    @pytest.fixture
    def folder(self, tokenizer: Tokenizer, tmp_path: Path) -> Path:
        tokenizer.save(tmp_path / "t")
        return tmp_path / "t"

    def test_load_gives_what_was_saved(self, tokenizer: Tokenizer, folder: Path, source_lines: list[str]) -> None:
        loaded = Tokenizer.load(folder)
        assert (loaded.hash, loaded.joint, loaded.algorithm) == (tokenizer.hash, True, tokenizer.algorithm)
        assert loaded.encode_source(source_lines) == tokenizer.encode_source(source_lines)

    def test_a_description_of_before_models_could_share_pieces(self, tokenizer: Tokenizer, folder: Path) -> None:
        description = folder / "tokenizer.toml"
        text = description.read_text(encoding="utf-8")
        assert "joint = true\n" in text
        description.write_text(text.replace("joint = true\n", ""), encoding="utf-8")
        loaded = Tokenizer.load(folder)
        assert (loaded.hash, loaded.joint) == (tokenizer.hash, True)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match="nowhere: no such tokenizer folder; `seq2seq tokenizer train"):
            Tokenizer.load(tmp_path / "nowhere")
        with pytest.raises(TokenizerError, match=r"no tokenizer\.toml"):
            Tokenizer.load(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"algorithm = ", b"\xff", b"models = 3", b"[models.joint]\n"])
    def test_damaged_description(self, folder: Path, content: bytes) -> None:
        (folder / "tokenizer.toml").write_bytes(content)
        with pytest.raises(TokenizerError, match=r"tokenizer\.toml: damaged"):
            Tokenizer.load(folder)

    @pytest.mark.parametrize("content", [None, b"", b"nonsense"])
    def test_damaged_model(self, folder: Path, content: bytes | None) -> None:
        path = folder / "joint.model"
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"joint\.model: .*(missing|damaged)"):
            Tokenizer.load(folder)

    def test_the_current_folder_is_not_replaced(
        self, tokenizer: Tokenizer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        with pytest.raises(TokenizerError, match="is the current folder, or holds it"):
            tokenizer.save(Path())

    def test_only_a_tokenizer_is_replaced(self, tokenizer: Tokenizer, folder: Path) -> None:
        tokenizer.save(folder)
        (folder / "thesis.txt").write_text("precious")
        with pytest.raises(TokenizerError, match=r"holds other files \(thesis\.txt\)"):
            tokenizer.save(folder)
        assert (folder / "thesis.txt").read_text() == "precious"
        with pytest.raises(TokenizerError, match="is a file"):
            tokenizer.save(folder / "thesis.txt")
