"""Text that a model makes, with a model that is only pretended: upper case is its translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq import synthesis
from seq2seq.checkpoint import CheckpointInfo
from seq2seq.config import (
    BackTranslationConfig,
    Config,
    CorpusConfig,
    DataConfig,
    DecodingConfig,
    DistillationConfig,
    DiversificationConfig,
    TokenizerConfig,
    TrainingConfig,
    save_config,
)
from seq2seq.data.corpus import SentencePair
from seq2seq.decoding.translator import Translation, Translator
from seq2seq.errors import CheckpointError, DataError, RecipeError
from seq2seq.files import write_json
from seq2seq.run_folder import RunFolder
from seq2seq.synthesis import SyntheticCorpus, synthetic_corpora, teacher_config, with_synthetic

LINES = [f"line {number}" for number in range(10)]


class Pretended:
    """A translator that may be stopped, and notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], DecodingConfig]] = []
        self.blocks_left = 1000

    def translate(self, texts: Sequence[str], config: DecodingConfig) -> list[Translation]:
        if not self.blocks_left:
            raise KeyboardInterrupt
        self.blocks_left -= 1
        self.asked.append((list(texts), config))
        return [Translation(text, text.upper()) for text in texts]


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended()
    monkeypatch.setattr(Translator, "load", lambda run, device: pretended)
    monkeypatch.setattr(synthesis, "BLOCK", 4)
    return pretended


@pytest.fixture
def corpus(tmp_path: Path) -> SyntheticCorpus:
    run = tmp_path / "model"
    checkpoint = run / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text("weights")
    write_json(checkpoint / "checkpoint.json", vars(CheckpointInfo(step=1, tokenizer_hash="x")))
    (run / "tokenizer").mkdir()
    (run / "tokenizer" / "joint.model").write_text("pieces")
    data = DataConfig(source_language="xx", target_language="yy")
    decoding = DecodingConfig(beam_size=7, n_best=2, length_penalty=0.5, too_long="refuse", seed=5)
    save_config(Config(data=data, decoding=decoding), run / "config.toml")
    text = tmp_path / "text.xx"
    text.write_text("".join(f"{line}\n" for line in LINES))
    return SyntheticCorpus(
        name="distillation", setting="distillation.teacher", model=str(run), languages=("xx", "yy"), text=text,
        is_source=True, beam_size=3,
    )  # fmt: skip


def make(corpus: SyntheticCorpus, folder: Path) -> list[SentencePair]:
    return list(corpus.pairs(folder / "work", "cpu", lambda line: None))


def test_the_model_translates_as_its_run_says_but_for_the_beam(
    corpus: SyntheticCorpus, translator: Pretended, tmp_path: Path
) -> None:
    assert make(corpus, tmp_path) == [(line, line.upper()) for line in LINES]
    texts, configs = zip(*translator.asked, strict=True)
    assert list(texts) == [LINES[:4], LINES[4:8], LINES[8:]]
    assert (configs[0].beam_size, configs[0].n_best, configs[0].length_penalty) == (3, 1, 0.5)
    assert configs[0].too_long == "split"
    assert [config.seed for config in configs] == [5, 6, 7], "samples of two blocks are not alike"


def test_back_translations_are_sources_with_a_tag(
    corpus: SyntheticCorpus, translator: Pretended, tmp_path: Path
) -> None:
    back = replace(corpus, is_source=False, tag="<bt>", sample=True)
    pairs = list(back.tagged(make(back, tmp_path)))
    assert pairs[0] == ("<bt> LINE 0", "line 0") and len(pairs) == len(LINES)
    assert translator.asked[0][1].sample
    assert list(corpus.tagged([SentencePair("a", "b")])) == [("a", "b")]


def test_no_choice_among_candidates_undoes_what_was_drawn(
    corpus: SyntheticCorpus, translator: Pretended, tmp_path: Path
) -> None:
    chosen = DecodingConfig(mbr="bleu", candidates=9, temperature=0.9)
    make(replace(corpus, decoding=chosen), tmp_path)
    make(replace(corpus, decoding=chosen, sample=True), tmp_path)
    searched, drawn = translator.asked[0][1], translator.asked[-1][1]
    assert (searched.mbr, searched.candidates) == ("bleu", 9)
    assert (drawn.mbr, drawn.temperature, drawn.sample) == ("off", 0.9, True)


def test_what_was_killed_goes_on_with_the_next_block(
    corpus: SyntheticCorpus, translator: Pretended, tmp_path: Path
) -> None:
    translator.blocks_left = 2
    with pytest.raises(KeyboardInterrupt):
        make(corpus, tmp_path)
    (tmp_path / "work" / ".000002.txt.99999999.partial").write_text("half")
    translator.blocks_left = 1
    assert make(corpus, tmp_path) == [(line, line.upper()) for line in LINES]
    assert [texts for texts, _ in translator.asked] == [LINES[:4], LINES[4:8], LINES[8:]]
    assert not list((tmp_path / "work").glob(".*"))


@pytest.mark.parametrize("what", ["text", "weights", "tokenizer", "beam"])
def test_blocks_of_something_else_are_made_anew(
    corpus: SyntheticCorpus, translator: Pretended, tmp_path: Path, what: str
) -> None:
    make(corpus, tmp_path)
    files = {
        "text": corpus.text,
        "weights": Path(corpus.model) / "checkpoints" / "step_00000001" / "model.safetensors",
        "tokenizer": Path(corpus.model) / "tokenizer" / "joint.model",
    }
    if what in files:
        files[what].write_text("other\n")
    else:
        corpus = replace(corpus, beam_size=1)
    translator.asked.clear()
    make(corpus, tmp_path)
    assert len(translator.asked) == (1 if what == "text" else 3)


def test_a_model_of_other_languages_is_refused(corpus: SyntheticCorpus) -> None:
    corpus.check()
    with pytest.raises(RecipeError, match=r"distillation\.teacher.*translates xx-yy; name a run that translates yy-xx"):
        replace(corpus, languages=("yy", "xx")).check()


def test_what_is_missing_is_named_before_anything_is_done(corpus: SyntheticCorpus, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run"):
        replace(corpus, model=str(tmp_path / "none")).check()
    back = replace(corpus, name="back_translation", is_source=False, text=tmp_path / "none")
    with pytest.raises(DataError, match=r"`back_translation\.monolingual` = .*none: no such file"):
        back.check()


CONFIG = Config(
    data=DataConfig(source_language="xx", target_language="yy", train=(CorpusConfig(path="as-fetched.tsv"),)),
    distillation=DistillationConfig(teacher="t", weight=2.0, original_weight=0.5),
    back_translation=BackTranslationConfig(monolingual="m", reverse_model="r", weight=0.25),
    tokenizer=TokenizerConfig(user_symbols=("<x>",)),
)
FOLDER = RunFolder(Path("run"), ("xx", "yy"))
ORIGINAL = CorpusConfig(source="o.xx", target="o.yy")


def made_of(config: Config) -> Config:
    corpora = synthetic_corpora(config, FOLDER)
    made = [(each, CorpusConfig(source=f"{each.name}.xx", target=f"{each.name}.yy")) for each in corpora]
    return with_synthetic(config, ORIGINAL, made)


def test_which_corpora_are_made() -> None:
    distilled, back = synthetic_corpora(CONFIG, FOLDER)
    assert (distilled.text, distilled.languages, distilled.is_source) == (Path("run/data/train.xx"), ("xx", "yy"), True)
    assert (back.text, back.languages, back.is_source) == (Path("m"), ("yy", "xx"), False)
    assert synthetic_corpora(Config(), FOLDER) == []


def test_training_takes_originals_and_what_was_made_by_weights() -> None:
    config = made_of(CONFIG)
    assert [(corpus.source, corpus.weight) for corpus in config.data.train] == [
        ("o.xx", 0.5), ("distillation.xx", 2.0), ("back_translation.xx", 0.25),
    ]  # fmt: skip
    assert config.data.risk_weights == (1.0, 0.0, 0.0), "its risk is that of text by people"
    assert not config.data.last_weights, "unless there is a last part"
    last = made_of(replace(CONFIG, training=TrainingConfig(last_from=0.8)))
    assert last.data.last_weights == (1.0, 0.0, 0.0) and last.training.last_from == 0.8
    assert config.tokenizer.user_symbols == ("<x>", "<bt>")
    assert not config.distillation.teacher and not config.back_translation.monolingual, "training has no such stages"


def test_a_student_sees_no_originals_unless_asked_to() -> None:
    distilled = replace(CONFIG, distillation=DistillationConfig(teacher="t"), back_translation=BackTranslationConfig())
    config = made_of(distilled)
    assert [corpus.source for corpus in config.data.train] == ["distillation.xx"] and not config.data.risk_weights
    assert config.tokenizer == CONFIG.tokenizer
    alone = made_of(replace(CONFIG, distillation=DistillationConfig(original_weight=0.0)))
    assert [(corpus.source, corpus.weight) for corpus in alone.data.train] == [
        ("o.xx", 1.0), ("back_translation.xx", 0.25),
    ]  # fmt: skip


DIVERSE = Config(
    data=DataConfig(
        source_language="xx", target_language="yy", train=(CorpusConfig(path="as-fetched.tsv", tag="<2yy>"),)
    ),
    diversification=DiversificationConfig(models=2, max_minutes=3.0),
    decoding=DecodingConfig(tag="<2yy>", beam_size=2, mbr="bleu"),
)


def test_models_of_both_directions_diversify_each_side() -> None:
    corpora = synthetic_corpora(DIVERSE, FOLDER)
    assert [(each.name, each.text, each.languages, each.is_source) for each in corpora] == [
        ("forward_1", Path("run/data/train.xx"), ("xx", "yy"), True),
        ("backward_1", Path("run/data/train.yy"), ("yy", "xx"), False),
        ("forward_2", Path("run/data/train.xx"), ("xx", "yy"), True),
        ("backward_2", Path("run/data/train.yy"), ("yy", "xx"), False),
    ]
    for each in corpora:
        each.check()  # though its model is not there yet
        decoding = each._decoding()
        assert (decoding.beam_size, decoding.mbr, decoding.tag) == (5, "off", "<2yy>" if each.is_source else "")
    config = made_of(DIVERSE)
    assert [corpus.source for corpus in config.data.train] == ["o.xx", *(f"{each.name}.xx" for each in corpora)]
    assert {corpus.weight for corpus in config.data.train} == {1.0} and not config.diversification.models


def test_a_backward_model_is_trained_on_the_same_text_turned_round() -> None:
    tagged = CorpusConfig(source="t.xx", target="t.yy", tag="<2yy>")
    data = replace(DIVERSE.data, train=(tagged,), validation=replace(tagged, source="v.xx", target="v.yy"))
    forward, backward = (teacher_config(DIVERSE, data, f"{name}_2") for name in ("forward", "backward"))
    assert forward.data == data and forward.decoding.tag == "<2yy>"
    assert backward.data.languages == ("yy", "xx")
    assert backward.data.train == (CorpusConfig(source="t.yy", target="t.xx"),) and not backward.decoding.tag
    assert backward.data.validation == CorpusConfig(source="v.yy", target="v.xx") and backward.data.test is None
    for each in (forward, backward):
        assert (each.training.seed, each.training.max_minutes) == (DIVERSE.training.seed + 200, 3.0)
        assert each.diversification == DiversificationConfig()
    own = TrainingConfig(max_minutes=7.0, last_from=0.8)
    alone = replace(DIVERSE, diversification=DiversificationConfig(models=1), training=own)
    assert teacher_config(alone, data, "forward_1").training.max_minutes == 7.0
    assert teacher_config(alone, data, "forward_1").training.last_from == 1, "there is no other text"
    back = replace(DIVERSE, back_translation=BackTranslationConfig(monolingual="m", reverse_model="r"))
    learnt = teacher_config(back, data, "forward_1", synthetic_corpora(back, FOLDER))
    assert learnt.tokenizer.user_symbols == ("<bt>",), "it is the tokenizer of all"
    given = replace(DIVERSE, tokenizer=TokenizerConfig(path="tok"))
    paths = [teacher_config(given, data, f"{name}_1").tokenizer.path for name in ("forward", "backward")]
    assert paths == ["tok", ""], "its sides may be the other way round"


def test_a_tokenizer_that_is_there_stays_as_it_is() -> None:
    for changed in (
        replace(CONFIG, tokenizer=TokenizerConfig(path="tok")),
        replace(CONFIG, training=TrainingConfig(initialise_from="run")),
    ):
        assert made_of(changed).tokenizer == changed.tokenizer
    twice = replace(CONFIG, tokenizer=TokenizerConfig(user_symbols=("<bt>",)))
    assert made_of(twice).tokenizer.user_symbols == ("<bt>",)
