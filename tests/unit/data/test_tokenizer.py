from __future__ import annotations

import pickle
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, sample_lines, train_tokenizer
from seq2seq.errors import TokenizerError

ALGORITHMS = ("unigram", "bpe")
NEWLINE_FREE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n"), max_size=40)
TEXT = NEWLINE_FREE.filter(lambda text: "▁" not in text)


def corpus(syllables: str, seed: int) -> list[str]:
    """Lines of made-up words, with far more different pieces than the tests' vocabularies have."""
    generator = random.Random(seed)
    words = ["".join(generator.choices(syllables.split(), k=generator.randint(1, 4))) for _ in range(500)]
    return [" ".join(generator.choices(words, k=8)) for _ in range(300)]


SOURCE = corpus("ber die gen straß läuf grü über män ner zwölf 中文 ha be ge sehen kin der spiel en", 1)
TARGET = corpus("the a dog hou se street run s green ov er men twelve ha ve see n chil dren play ing", 2)


@pytest.fixture(scope="module", params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def config(algorithm: str) -> TokenizerConfig:
    return TokenizerConfig(algorithm=algorithm, vocab_size=330, normalization="identity")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def identity(config: TokenizerConfig, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_tokenizer(config, SOURCE, TARGET, tmp_path_factory.mktemp("t") / "identity")


@pytest.fixture(scope="module")
def nfkc(config: TokenizerConfig, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    config = replace(config, normalization="nfkc")
    return train_tokenizer(config, SOURCE, TARGET, tmp_path_factory.mktemp("t") / "nfkc")


class TestRoundTrip:
    @settings(deadline=None)
    @given(text=TEXT, sampling=st.sampled_from((0.0, 0.1, 0.5)))
    def test_identity_is_exact(self, identity: Tokenizer, text: str, sampling: float) -> None:
        ids = identity.encode_source([text], sampling, seed=1)[0]
        assert identity.decode_source(ids) == text
        assert identity.unk_id not in ids

    @settings(deadline=None)
    @given(text=TEXT)
    def test_pieces_separated_by_spaces(self, identity: Tokenizer, text: str) -> None:
        line = " ".join(identity.source.pieces([text])[0])
        assert "\n" not in line
        assert identity.source.join([piece for piece in line.split(" ") if piece]) == text

    @pytest.mark.parametrize(
        "text", ["", " ", " a  b ", "a\u2028b", "\x85", "\r", "\t\x0b", "😀👩‍🚀", "\0", "<s> </s> <unk> <0x41>"]
    )
    def test_odd_text(self, identity: Tokenizer, text: str) -> None:
        assert identity.decode_source(identity.encode_source([text])[0]) == text

    def test_space_sign_becomes_a_space(self, identity: Tokenizer) -> None:
        assert identity.decode_source(identity.encode_source(["a▁b"])[0]) == "a b"

    @settings(deadline=None)
    @given(text=NEWLINE_FREE)
    def test_nfkc_is_idempotent(self, nfkc: Tokenizer, text: str) -> None:
        once = nfkc.decode_source(nfkc.encode_source([text])[0])
        assert nfkc.decode_source(nfkc.encode_source([once])[0]) == once

    def test_nfkc_normalises(self, nfkc: Tokenizer) -> None:
        assert nfkc.decode_source(nfkc.encode_source(["  ﬁ   ①\u00a0Ｈ "])[0]) == "fi 1 H"

    def test_without_byte_fallback(self, config: TokenizerConfig, tmp_path: Path) -> None:
        tokenizer = train_tokenizer(replace(config, byte_fallback=False, vocab_size=80), SOURCE, TARGET, tmp_path / "t")
        ids = tokenizer.encode_source(["straß 漢 zwölf"])[0]
        assert tokenizer.unk_id in ids
        assert tokenizer.decode_source(ids) == "straß ⁇ zwölf"


class TestIds:
    def test_special_ids(self, identity: Tokenizer) -> None:
        assert (identity.pad_id, identity.unk_id, identity.bos_id, identity.eos_id) == (0, 1, 2, 3)
        assert identity.target_tokens([0, 1, 2, 3]) == ["<pad>", "<unk>", "<s>", "</s>"]

    @settings(deadline=None)
    @given(texts=st.lists(TEXT, max_size=5))
    def test_end_of_sentence_once_and_last(self, identity: Tokenizer, texts: list[str]) -> None:
        encoded = identity.encode_target(texts)
        assert len(encoded) == len(texts)
        for ids in encoded:
            assert ids[-1] == identity.eos_id
            assert not {identity.pad_id, identity.bos_id, identity.eos_id} & set(ids[:-1])

    @settings(deadline=None)
    @given(data=st.data())
    def test_any_ids_decode_to_one_valid_line(self, identity: Tokenizer, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.integers(0, identity.target_vocab_size - 1)))
        text = identity.decode_target(ids)
        assert "\n" not in text
        text.encode("utf-8")

    def test_special_ids_are_not_text(self, identity: Tokenizer) -> None:
        ids = identity.encode_target(["the dog"])[0]
        assert identity.decode_target([2, 0, *ids, 0, 0]) == "the dog"

    @pytest.mark.parametrize(("data", "text"), [(b"\n", " "), (b"\r\n", " "), (b"a\xe2\x96b", "a\ufffd\ufffdb")])
    def test_bytes(self, identity: Tokenizer, data: bytes, text: str) -> None:
        assert identity.target.join([f"<0x{byte:02X}>" for byte in data]) == text

    @pytest.mark.parametrize("token", [-1, 330, 10**6])
    def test_id_outside(self, identity: Tokenizer, token: int) -> None:
        with pytest.raises(TokenizerError, match=f"token id {token}: .* 0 to 329"):
            identity.decode_target([5, token])

    def test_half_a_surrogate_pair(self, identity: Tokenizer) -> None:
        with pytest.raises(TokenizerError, match=r"'b\\ud800'.*surrogate"):
            identity.encode_source(["a", "b\ud800"])

    def test_pieces_are_those_of_the_ids(self, identity: Tokenizer) -> None:
        assert [*identity.source_pieces("grüne 漢"), "</s>"] == identity.target_tokens(
            identity.encode_source(["grüne 漢"])[0]
        )


class TestSampling:
    def test_function_of_the_seed(self, identity: Tokenizer) -> None:
        first = identity.encode_source(SOURCE, 0.2, seed=7)
        identity.encode_source(SOURCE[:3], 0.2, seed=8)
        assert identity.encode_source(SOURCE, 0.2, seed=7) == first
        assert pickle.loads(pickle.dumps(identity)).encode_source(SOURCE, 0.2, seed=7) == first

    def test_seeds_differ(self, identity: Tokenizer) -> None:
        seeds = (0, 1, 2, 2**32 - 2, 2**40, -5)
        assert len({str(identity.encode_source(SOURCE[:50], 0.2, seed)) for seed in seeds}) == len(seeds)

    def test_sentences_of_a_call_differ(self, identity: Tokenizer) -> None:
        assert len(set(map(tuple, identity.encode_source(SOURCE[:1] * 50, 0.2, seed=1)))) > 10

    def test_not_sampled_is_the_same_after(self, identity: Tokenizer) -> None:
        best = identity.encode_source(SOURCE)
        identity.encode_source(SOURCE, 0.2, seed=1)
        assert identity.encode_source(SOURCE) == best

    def test_any_thread_at_the_same_time(self, identity: Tokenizer) -> None:
        expected = {seed: identity.encode_source(SOURCE[:20], 0.2, seed) for seed in range(4)}
        wrong: list[int] = []

        def work(seed: int) -> None:
            for _ in range(20):
                if identity.encode_source(SOURCE[:20], 0.2, seed) != expected[seed]:
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_another_process(self, identity: Tokenizer, tmp_path: Path) -> None:
        identity.save(tmp_path / "t")
        program = (
            "import sys; from seq2seq.data.tokenizer import Tokenizer; t = Tokenizer.load(sys.argv[1]); "
            "t.encode_source(['x y'], 0.3, 5); print(t.encode_source([sys.argv[2]] * 9, 0.2, seed=7))"
        )
        arguments = [sys.executable, "-c", program, str(tmp_path / "t"), SOURCE[0]]
        result = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == str(identity.encode_source(SOURCE[:1] * 9, 0.2, seed=7))


class TestTraining:
    def test_deterministic_and_quiet(
        self, config: TokenizerConfig, identity: Tokenizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        again = train_tokenizer(config, iter(SOURCE), iter(TARGET), tmp_path / "t")
        assert again.hash == identity.hash
        assert capfd.readouterr() == ("", "")

    def test_sample_is_a_function_of_the_seed(self, config: TokenizerConfig, tmp_path: Path) -> None:
        config = replace(config, vocab_size=310, max_sentences=100)
        hashes = [
            train_tokenizer(replace(config, seed=seed), SOURCE, TARGET, tmp_path / "t").hash for seed in (1, 1, 2)
        ]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_separate(self, config: TokenizerConfig, tmp_path: Path) -> None:
        tokenizer = train_tokenizer(replace(config, joint=False, vocab_size=300), SOURCE, TARGET, tmp_path / "t")
        assert not tokenizer.joint
        assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
            "source.model",
            "target.model",
            "tokenizer.toml",
        ]
        assert any("中" in piece for piece in tokenizer.source.tokens(range(300)))
        assert not any("中" in piece for piece in tokenizer.target.tokens(range(300)))
        assert tokenizer.hash == Tokenizer.load(tmp_path / "t").hash

    def test_user_symbols_are_one_piece(self, config: TokenizerConfig, tmp_path: Path) -> None:
        symbols = ("<2de>", 'a,"b', "New York")
        tokenizer = train_tokenizer(replace(config, user_symbols=symbols), SOURCE, TARGET, tmp_path / "t")
        text = '<2de> der a,"b in New York'
        for seed in range(20):
            pieces = tokenizer.target_tokens(tokenizer.encode_source([text], 0.3, seed)[0])
            assert {"<2de>", 'a,"b', "New▁York"} <= set(pieces)
        assert tokenizer.decode_source(tokenizer.encode_source([text])[0]) == text

    def test_endless_line(self, config: TokenizerConfig, tmp_path: Path) -> None:
        tokenizer = train_tokenizer(replace(config, vocab_size=290), [" ".join(SOURCE) * 5], [], tmp_path / "t")
        assert tokenizer.source_vocab_size == 290

    @pytest.mark.parametrize("symbol", ["", " ", "<s>", "<pad>", "<0x0A>", "a\nb", "twice"])
    def test_bad_user_symbol(self, config: TokenizerConfig, tmp_path: Path, symbol: str) -> None:
        with pytest.raises(TokenizerError, match=r"^`tokenizer\.user_symbols`: .*; remove it$"):
            train_tokenizer(replace(config, user_symbols=("twice", symbol)), SOURCE, TARGET, tmp_path / "t")

    def test_vocabulary_too_large_names_the_largest(self, config: TokenizerConfig, tmp_path: Path) -> None:
        config = replace(config, vocab_size=9000)
        with pytest.raises(TokenizerError, match=r"^`tokenizer.vocab_size` = 9000: .* set it to \d+ or less$") as error:
            train_tokenizer(config, SOURCE, TARGET, tmp_path / "t")
        assert list(tmp_path.iterdir()) == []
        largest = int(str(error.value).split()[-3])
        tokenizer = train_tokenizer(replace(config, vocab_size=largest), SOURCE, TARGET, tmp_path / "t")
        assert tokenizer.source_vocab_size == largest

    def test_vocabulary_too_small_names_the_need(self, config: TokenizerConfig, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match=r"^`tokenizer\.vocab_size` = 20: .* more than \d+, or lower"):
            train_tokenizer(replace(config, vocab_size=20), SOURCE, TARGET, tmp_path / "t")

    @pytest.mark.parametrize("lines", [[], ["", " \t"], ["▅▅"]])
    def test_no_text(self, config: TokenizerConfig, tmp_path: Path, lines: list[str]) -> None:
        with pytest.raises(TokenizerError, match=r"^no target text to train the tokenizer on: .*; check the corpus$"):
            train_tokenizer(replace(config, joint=False, vocab_size=290), SOURCE, lines, tmp_path / "t")


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
    def folder(self, identity: Tokenizer, tmp_path: Path) -> Path:
        identity.save(tmp_path / "t")
        return tmp_path / "t"

    def test_load_gives_what_was_saved(self, identity: Tokenizer, folder: Path) -> None:
        loaded = Tokenizer.load(folder)
        assert (loaded.hash, loaded.joint, loaded.algorithm) == (identity.hash, True, identity.algorithm)
        assert loaded.encode_source(SOURCE) == identity.encode_source(SOURCE)

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

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 50])
    def test_not_a_model(self, content: bytes) -> None:
        with pytest.raises(TokenizerError, match="SentencePiece model"):
            Tokenizer({"joint": content}, algorithm="bpe", normalization="nfkc")

    def test_only_a_tokenizer_is_replaced(self, identity: Tokenizer, folder: Path) -> None:
        identity.save(folder)
        (folder / "thesis.txt").write_text("precious")
        with pytest.raises(TokenizerError, match=r"holds other files \(thesis\.txt\)"):
            identity.save(folder)
        assert (folder / "thesis.txt").read_text() == "precious"
        with pytest.raises(TokenizerError, match="is a file"):
            identity.save(folder / "thesis.txt")
