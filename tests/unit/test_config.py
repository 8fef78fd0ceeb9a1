import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from seq2seq.config import (
    PRESETS,
    Config,
    CorpusConfig,
    ModelConfig,
    PrepareConfig,
    TrainingConfig,
    config_from_dict,
    config_to_dict,
    load_config,
    resolve_paths,
    save_config,
)
from seq2seq.errors import ConfigError
from seq2seq.settings import declared

# Ranges that fit together; what still does not is rejected below.
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "data.temperature": st.just(1.0),
    "data.curriculum": st.just(()),
    "data.last_weights": st.just(()),
    "data.risk_weights": st.just(()),
    "prepare.max_ratio": st.floats(1, 9),
    "noise.upper_case": st.floats(0, 0.3),
    "noise.title_case": st.floats(0, 0.3),
    "noise.lower_case": st.floats(0, 0.3),
    "tokenizer.path": st.sampled_from(["", "/data/tokenizer"]),
    "model.preset": st.just("custom"),
    "model.num_heads": st.sampled_from([1, 2, 4]),
    "model.d_model": st.sampled_from([4, 64, 512]),
    "model.max_length": st.integers(200, 2000),
    "model.source_vocab_size": st.just(0),
    "model.target_vocab_size": st.just(0),
    "training.adam_betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    "training.keep_checkpoints": st.integers(200, 300),
    "training.initialise_from": st.sampled_from(["", "/data/run"]),
    "training.minimum_risk": st.sampled_from([0.0, 0.9]),
    "training.freeze": st.sampled_from([(), ("embeddings",), ("encoder", "decoder")]),
    "training.lora_rank": st.sampled_from([0, 4]),
    "training.lora_embedding_rank": st.sampled_from([0, 4]),
    "distillation.teacher": st.sampled_from(["", "/data/run"]),
    "back_translation.monolingual": st.just(""),
    "back_translation.reverse_model": st.just(""),
    "back_translation.tag": st.sampled_from(["", "<bt>"]),
    "decoding.length_reward": st.sampled_from([0.0, 0.0, 0.0, 0.5]),
    "decoding.beam_size": st.integers(200, 300),
    "decoding.candidates": st.integers(200, 300),
    "decoding.min_length_ratio": st.floats(0, 0.5),
    "decoding.tag": st.sampled_from(["", "<2de>"]),
}
NAMES = st.text(st.characters(exclude_characters="\x00/", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..") and not name.startswith("~")
)
PATHS = st.builds("/corpora/{}".format, NAMES)


def corpora() -> st.SearchStrategy[CorpusConfig]:
    columns = {"source_column": st.text(), "target_column": st.text(), "drop_empty": st.booleans()}
    return st.one_of(
        st.builds(CorpusConfig, source=PATHS, target=PATHS, **columns),
        st.builds(CorpusConfig, path=PATHS, **columns),
        st.builds(CorpusConfig, dataset=st.text(min_size=1), subset=st.text(), revision=st.text(), **columns),
    )


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[0] is CorpusConfig:
        return st.lists(corpora(), max_size=2).map(tuple)
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    if hint in (bool, str):
        return st.from_type(hint)
    if hint is int:
        return st.integers(8, 200)
    return st.floats(0.5, 0.98) if hint is float else st.none() | corpora()


@cache  # built anew for each example, they would take longer than all that is drawn
def sections() -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    """For each section of a Config: some of its settings, with values."""
    found = {}
    for section, setting in declared(Config).items():
        fields = declared(setting.type)
        found[section] = st.fixed_dictionaries(
            {}, optional={n: SPECIAL.get(f"{section}.{n}", values_of(f.type)) for n, f in fields.items()}
        ).map(lambda values, cls=setting.type: (cls, values))
    return found


@st.composite
def configs(draw: st.DrawFn) -> Config:
    drawn = {name: draw(strategy) for name, strategy in sections().items()}
    try:
        return Config(**{name: cls(**values) for name, (cls, values) in drawn.items()})
    except ConfigError:
        reject()


@given(configs())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_config_survives_toml(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    assert config_from_dict(config_to_dict(config)) == config
    path = tmp_path_factory.getbasetemp() / "any.toml"  # "config.toml" would make it a run, to tests beside
    save_config(config, path)
    assert load_config(path) == config
    first = path.read_bytes()
    save_config(load_config(path), path)
    assert path.read_bytes() == first


def test_a_curriculum_survives_toml() -> None:
    corpora = [{"path": "a.tsv"}, {"path": "b.tsv", "tag": "<bt>"}]
    stages = [{"epochs": 2, "weights": [1.0, 0.0]}, {"weights": [1.0, 0.5]}]
    config = config_from_dict({"data": {"train": corpora, "curriculum": stages}})
    assert [stage.weights for stage in config.data.curriculum] == [(1.0, 0.0), (1.0, 0.5)]
    assert config_from_dict(config_to_dict(config)) == config


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_the_default_run(tmp_path: Path) -> None:
    assert load_config(write(tmp_path / "c.toml", "")) == Config()


def test_paths_are_meant_from_the_folder_of_the_file_so_runs_can_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "data").mkdir(parents=True)
    write(run / "c.toml", '[tokenizer]\npath = "tok"\n[[data.train]]\nsource = "data/a.en"\ntarget = "../b.de"\n')
    monkeypatch.chdir(run)
    config = load_config("c.toml")
    assert config.tokenizer.path == str(run / "tok")
    assert config.data.train[0].source == str(run / "data/a.en")
    save_config(config, run / "config.toml")
    saved = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert saved["tokenizer"]["path"] == "tok"
    assert saved["data"]["train"][0]["source"] == "data/a.en"
    assert saved["data"]["train"][0]["target"] == str(tmp_path / "b.de")
    moved = run.rename(tmp_path / "moved")
    assert load_config(moved / "config.toml").data.train[0].source == str(moved / "data/a.en")


def test_paths_of_models_and_text_that_a_recipe_makes_more_of(tmp_path: Path) -> None:
    back = {"monolingual": "mono.en", "reverse_model": "runs/en-de"}
    config = config_from_dict({"distillation": {"teacher": "runs/teacher"}, "back_translation": back})
    resolved = resolve_paths(config, tmp_path)
    assert resolved.distillation.teacher == str(tmp_path / "runs/teacher")
    assert resolved.back_translation.monolingual == str(tmp_path / "mono.en")
    assert resolved.back_translation.reverse_model == str(tmp_path / "runs/en-de")
    save_config(resolved, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == resolved


def test_paths_in_overrides_are_meant_from_where_they_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "recipe.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "here")
    typed = ["distillation.teacher = runs/x", 'data.validation.path="a.tsv"', "tokenizer.path="]
    config = load_config(tmp_path / "recipe.toml", typed)
    assert config.distillation.teacher == str(tmp_path / "here/runs/x")
    assert config.data.validation == CorpusConfig(path=str(tmp_path / "here/a.tsv"))
    assert config.tokenizer.path == ""
    assert load_config(tmp_path / "recipe.toml", ["tokenizer.path = /abs/x"]).tokenizer.path == "/abs/x"


def test_dropout_of_adapters_is_dropout_too() -> None:
    training = TrainingConfig(r_drop=1.0, initialise_from="base", lora_rank=2, lora_dropout=0.1)
    assert Config(model=ModelConfig(dropout=0.0), training=training).training.r_drop == 1.0


def test_resolve_paths_leaves_what_is_no_path(tmp_path: Path) -> None:
    config = config_from_dict({"data": {"train": [{"dataset": "a/b"}], "test": {"path": "x.tsv"}}})
    resolved = resolve_paths(config, tmp_path)
    assert resolved.data.train == config.data.train
    assert resolved.data.test == CorpusConfig(path=str(tmp_path / "x.tsv"))
    assert resolved.tokenizer.path == ""


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings_that_others_go_on_top_of(preset: str) -> None:
    model = config_from_dict({"model": {"preset": preset}}).model
    assert model == ModelConfig(**PRESETS[preset])
    assert model.preset == "custom"  # spelled out: a saved run does not change with a preset
    changed = config_from_dict({"model": {"preset": preset, "dropout": 0.25}}, ["model.num_heads=2"]).model
    assert (changed.dropout, changed.num_heads, changed.d_model) == (0.25, 2, model.d_model)
    assert config_from_dict({}, [f"model.preset={preset}"]).model == model


def test_an_asked_for_preset_takes_the_place_of_sizes() -> None:
    ready = config_to_dict(config_from_dict({"model": {"preset": "tiny", "dropout": 0.25}}))
    asked = config_from_dict(ready, ["model.preset=base", "model.num_heads=4"]).model
    assert asked == replace(ModelConfig(**PRESETS["base"]), num_heads=4)
    assert config_from_dict(ready, ["model.preset=custom"]) == config_from_dict(ready)
    own = config_from_dict({"model": {"preset": "tiny", "dropout": 0.25}}, ["model.preset=base"]).model
    assert own == replace(ModelConfig(**PRESETS["base"]), dropout=0.25), "what stands beside a preset is on top of it"


def test_the_presets_are_those_of_the_paper() -> None:
    base, big = (config_from_dict({"model": {"preset": name}}).model for name in ("base", "big"))
    sizes = ("encoder_layers", "decoder_layers", "d_model", "d_ff", "num_heads", "dropout", "norm")
    assert [getattr(base, name) for name in sizes] == [6, 6, 512, 2048, 8, 0.1, "post"]
    assert [getattr(big, name) for name in sizes] == [6, 6, 1024, 4096, 16, 0.3, "post"]


def test_overrides_are_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[training]\nsteps = 10\nseed = 3\n")
    config = load_config(path, ["training.steps=20", "model.d_model=64", "data.target_language=no"])
    assert (config.training.steps, config.training.seed, config.model.d_model) == (20, 3, 64)
    assert config.data.target_language == "no"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model]\ndmodel = 3\n", "`model.dmodel`: unknown setting; did you mean `model.d_model`?"),
        (b"[modell]\n", "did you mean `model`?"),
        (b"[model\n", "not valid TOML"),
        (b"# \xe4\n", "not UTF-8"),
        (b"model = 3\n", "`model` = 3: expected a table [model]"),
        (b"[model]\npreset = 'huge'\n", "`model.preset` = 'huge': expected one of custom, tiny, base, big"),
        (b"[training]\nsteps = 'many'\n", "`training.steps` = 'many': expected integer"),
        (b"[training]\nsteps = 0\n", "`training.steps` = 0: must be at least 1"),
        (b"[training]\nadam_betas = [0.9]\n", "`training.adam_betas` = [0.9]"),
        pytest.param(b"[training]\nsteps = " + b"1" * 5000, "not valid TOML: Exceeds the limit", id="many digits"),
        pytest.param(b"a = " + b"[" * 9000, "not valid TOML: ", id="many brackets"),
        (b"[training]\nlearning_rate = nan\n", "`training.learning_rate` = nan"),
        (b"[training]\nlearning_rate = inf\n", "`training.learning_rate` = inf: must be from 0"),
        (b"[training]\nweight_decay = inf\n", "`training.weight_decay` = inf: must be from 0"),
        (b"[training]\nminimum_risk = inf\n", "`training.minimum_risk` = inf: must be from 0"),
        (b"[training]\nseed = 18446744073709551616\n", "`training.seed` = 18446744073709551616: must be from 0"),
        (b"[decoding]\nlength_penalty = 400\n", "`decoding.length_penalty` = 400.0: must be from 0 to 20"),
        (b"\xef\xbb\xbf[training]\nsteps = 0\n", "`training.steps` = 0: must be at least 1"),
        (b"[[data.train]]\npath = 'a'\n[[data.train]]\npath = 'b'\nweight = -1\n", "`data.train[1]`: `weight` = -1"),
        (b"[[data.train]]\npath = 'a'\nprepare = {max_ratio = 0.5}\n", "`data.train[0].prepare`: `prepare.max_ratio`"),
        (b"[model]\ndropout = 1.5\n", "`model.dropout` = 1.5: must be from 0 to 0.99"),
        (b"[model]\nd_model = 10\nnum_heads = 3\n", "`model.num_heads` = 3: must divide `model.d_model` = 10"),
        (b"[model]\nd_model = 9\nnum_heads = 3\n", "must be even"),
        (b"[tokenizer]\njoint = false\n", "`model.tied_embeddings` = 'all': needs `tokenizer.joint` = true"),
        (b"[data]\nmax_length = 3000\n", "is over `model.max_length` = 1024"),
        (b"[recipe]\naverage = 9\n", "is over `training.keep_checkpoints` = 5"),
        (b"[decoding]\nn_best = 6\n", "is over `decoding.beam_size` = 5"),
        (b"[decoding]\nmin_length_ratio = 3.0\n", "is over `decoding.max_length_ratio` = 2.0"),
        (b"[[data.train]]\nsource = 'a'\n", "needs both `source` and `target`"),
        (b"[[data.train]]\npath = 'a'\ndataset = 'b'\n", "got 2 (path, dataset)"),
        (b"[[data.train]]\n", "got none"),
        (b"[[data.train]]\npath = 'a'\nweight = -1\n", "`weight` = -1.0: must be from 0 to 1000"),
        (b"[[data.train]]\npath = 'a'\nweight = inf\n", "`weight` = inf: must be from 0 to 1000"),
        (b"[data.validation]\npath = 'a'\nweight = 2\n", "`data.validation.weight` = 2.0: is for training corpora"),
        (b"[data.validation]\npath = 'a'\nprepare = {}\n", "`data.validation.prepare`: is for training corpora"),
        (b"[[data.train]]\npath = 'a'\nprepare = 3\n", "`data.train[0].prepare` = 3: expected a table"),
        (
            b"[[data.train]]\npath = 'a'\nprepare = { max_ration = 2.0 }\n",
            "`data.train[0].prepare.max_ration`: unknown setting; did you mean `data.train[0].prepare.max_ratio`?",
        ),
        (
            b"[prepare]\ndeduplicate = false\n[[data.train]]\npath = 'a'\nprepare = { deduplicate = true }\n",
            "`data.train[0].prepare.deduplicate`: must be the same for all corpora; set `prepare.deduplicate`",
        ),
        (b"[[data.train]]\npath = 'a'\ntag = 'to de'\n", "`tag` = 'to de': has space in it"),
        (b"[decoding]\ntag = ' <2de>'\n", "`decoding.tag` = ' <2de>': has space in it"),
        (b"[[data.train]]\npath = 'a'\nweight = 0\n", "`data.train`: every `weight` is 0"),
        (b"[training]\nadam_epsilon = 0\n", "`training.adam_epsilon` = 0.0: must be from 1e-20 to 1"),
        (b"[training]\nlearning_rate = 1" + 400 * b"0", "`training.learning_rate`: is too large a number"),
        (b"[training]\nlora_rank = 2\n", "`training.lora_rank` = 2: needs a run in `training.initialise_from`"),
        (b"[training]\nfreeze = ['encoder']\n", "`training.freeze` = ['encoder']: needs a run in"),
        (
            b"[training]\nfinal_learning_rate = 0.9\n",
            "`training.final_learning_rate` = 0.9: is over `training.learning_rate` = 0.0005, from which it falls",
        ),
        (b"[training]\nr_drop = 5\n[model]\ndropout = 0.0\n", "`training.r_drop` = 5.0: compares what"),
        (b"[distillation]\nweight = 0\n", "`distillation.weight` = 0: leaves nothing"),
        (b"[diversification]\ntogether = true\n", "`diversification.together` = true: there are no models"),
        (b"[diversification]\nmodels = 1\n[distillation]\nteacher = 'r'\n", "`diversification.models` = 1: adds to"),
        (b"[diversification]\nmodels = 1\ntogether = true\n[decoding]\nmbr = 'bleu'\n", "`decoding.mbr` = 'bleu': ch"),
        (b"[diversification]\nmodels = 1\n[training]\ninitialise_from = 'r'\n", "`diversification.models` = 1: its"),
        (b"[back_translation]\nmonolingual = 'a'\n", "`back_translation.reverse_model` = '': goes with the other one"),
        (b"[back_translation]\ntag = 'a b'\n", "`back_translation.tag` = 'a b': holds space"),
        (b"[training]\nfreeze = ['head']\n", "expected one of embeddings, encoder, decoder"),
        (b"[training]\nfreeze = ['decoder', 'encoder', 'embeddings']\n", "leaves nothing to train"),
    ],
)
def test_mistakes_are_named_with_file_value_and_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_corpus_has_its_own_way_of_cleaning_on_top_of_the_common_one(tmp_path: Path) -> None:
    text = (
        "[prepare]\nmax_words = 50\nmax_ratio = 3.0\n[[data.train]]\npath = 'a'\n"
        "[[data.train]]\npath = 'b'\nprepare = { max_ratio = 2.0, drop_copies = true }\n"
    )
    config = load_config(write(tmp_path / "c.toml", text), ["prepare.max_words=40"])
    common = PrepareConfig(max_words=40, max_ratio=3.0)
    assert config.prepare_each == (common, replace(common, max_ratio=2.0, drop_copies=True))
    save_config(config, tmp_path / "saved.toml")
    assert load_config(tmp_path / "saved.toml") == config


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such config file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the config file"):
        load_config(tmp_path)


def test_mistakes_in_overrides_do_not_end_in_a_traceback(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "model = 3\n")
    with pytest.raises(ConfigError, match="`model`"):
        load_config(path, ["model.d_model=64"])
    with pytest.raises(ConfigError, match=r"did you mean `training\.steps`"):
        load_config(write(path, ""), ["training.step=5"])


def test_a_path_of_an_unknown_user_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="~no-such-user"):
        load_config(write(tmp_path / "c.toml", "[tokenizer]\npath = '~no-such-user/tok'\n"))


def test_a_run_to_fine_tune_gives_the_model_that_other_settings_go_on_top_of(tmp_path: Path) -> None:
    base = tmp_path / "base"
    sizes = {"d_model": 64, "num_heads": 2, "dropout": 0.3, "tied_embeddings": "decoder"}
    values = {"model": sizes, "tokenizer": {"joint": False, "vocab_size": 99, "path": "tok"}}
    base.mkdir()
    save_config(config_from_dict(values), base / "config.toml")
    write(tmp_path / "c.toml", "[model]\ndropout = 0.1\n[training]\ninitialise_from = 'base'\n")
    config = load_config(tmp_path / "c.toml")
    assert (config.model.d_model, config.model.dropout, config.model.tied_embeddings) == (64, 0.1, "decoder")
    assert (config.tokenizer.joint, config.tokenizer.vocab_size, config.tokenizer.path) == (False, 99, "")
    assert config.training.initialise_from == str(base)
    checkpoint = [f"training.initialise_from={base}/checkpoints/step_1"]
    assert load_config(tmp_path / "c.toml", checkpoint).model == config.model
    save_config(config, tmp_path / "config.toml")
    (base / "config.toml").unlink()
    assert load_config(tmp_path / "config.toml") == config, "a run needs no other"
    assert tomllib.loads((tmp_path / "config.toml").read_text())["training"]["initialise_from"] == "base"


@pytest.mark.parametrize(
    ("base", "text", "message"),
    [
        ("model = 3\n", "", "`model` = 3: expected a table [model]; it is no run's config"),
        ("tokenizer = [1]\n", "", "`tokenizer` = [1]: expected a table [tokenizer]; it is no run's config"),
        ("[model]\nd_model = 8\n", "[model]\npreset = ['tiny']\n", "`model.preset` = ['tiny']: expected one of"),
    ],
)
def test_mistakes_of_a_run_to_start_from_are_named(tmp_path: Path, base: str, text: str, message: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(base)
    (tmp_path / "c.toml").write_text(f"{text}[training]\ninitialise_from = 'run'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.toml")
    assert message in str(caught.value)


def test_numbers_of_thousands_of_digits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").touch()
    with pytest.raises(ConfigError, match=r"`training\.steps` = .*: expected integer"):
        load_config(tmp_path / "c.toml", [f"training.steps={5000 * '1'}"])
