from dataclasses import replace
from pathlib import Path

from strict_html import Page, text_of

from seq2seq.config import Config, CorpusConfig, DataConfig, ModelConfig, config_to_dict
from seq2seq.reporting.runs import Run
from seq2seq.reporting.settings_tables import differing, settings_tables, shown
from seq2seq.settings import flat

FIRST = Config(data=DataConfig(train=(CorpusConfig(source="a.de", target="<a>.en"),)))
SECOND = replace(FIRST, model=ModelConfig(d_ff=99))


def runs(*configs: Config) -> list[Run]:
    return [Run(f"<run {i}>", Path("run"), Path.cwd(), config, [], None, i) for i, config in enumerate(configs)]


def above_the_fold(html: str) -> str:
    return text_of(html[: html.index("<details>")])


def test_only_what_differs_is_beside_each_other() -> None:
    assert differing([flat(config_to_dict(config)) for config in (FIRST, SECOND)]) == {"model.d_ff"}
    html = settings_tables(runs(FIRST, SECOND))
    top = above_the_fold(html)
    assert "model.d_ff" in top and "99" in top and str(FIRST.model.d_ff) in top
    assert "model.d_model" not in top and "model.d_model" in text_of(html)
    assert "<run 1>" in top


def test_a_setting_that_one_run_lacks_differs() -> None:
    with_test = replace(FIRST, data=replace(FIRST.data, test=CorpusConfig(source="t.de", target="t.en")))
    assert "data.test.source" in above_the_fold(settings_tables(runs(with_test, FIRST)))


def test_equal_runs_are_said_to_be_equal() -> None:
    assert "All settings are the same" in above_the_fold(settings_tables(runs(FIRST, FIRST)))


def test_what_each_run_has_in_its_own_folder_is_no_difference(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        text = CorpusConfig(source=str(folder / "data/train.de"), target=str(tmp_path / "shared.en"))
        found.append(Run(name, folder, folder, Config(data=DataConfig(train=(text,))), [], None, 0))
    html = settings_tables(found)
    assert "All settings are the same" in above_the_fold(html)
    assert f"source data/train.de, target {tmp_path}/shared.en" in text_of(html)


def test_of_one_run_what_is_not_the_default_is_shown() -> None:
    html = settings_tables(runs(SECOND))
    top = above_the_fold(html)
    assert "model.d_ff" in top and "source a.de, target <a>.en" in top
    assert "model.d_model" not in top
    assert Page(html).count("tr") > len(flat(config_to_dict(SECOND)))


def test_values_are_for_people() -> None:
    assert shown(None) == shown("") == shown([]) == "–"
    assert shown(True) == "true" and shown(1e-9) == "1e-09" and shown(3) == "3"
    assert shown([0.9, 0.98]) == "0.9; 0.98"
    assert shown({"path": "x.tsv", "weight": 0.1, "drop_empty": True}) == "path x.tsv, weight 0.1"
