import copy
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config
from seq2seq.errors import ConfigError
from seq2seq.settings import declared, flat, from_dict, reference, to_dict, type_name, with_overrides


@dataclass(frozen=True, kw_only=True)
class Wheel:
    size: Annotated[int, "diameter in inches"]
    name: Annotated[str, "what it is called"] = ""


@dataclass(frozen=True, kw_only=True)
class Bike:
    colour: Annotated[Literal["red", "blue"], "of the frame"] = "red"
    weight: Annotated[float, "in kg"] = 12.5
    gears: Annotated[int, "number of gears"] = 3
    electric: Annotated[bool, "has a motor"] = False
    name: Annotated[str, "what it is called"] = ""
    stops: Annotated[tuple[str, ...], "places on the way"] = ()
    ratios: Annotated[tuple[float, ...], "of the gears"] = ()
    front: Annotated[Wheel, "the front wheel"] = Wheel(size=28)
    spare: Annotated[Wheel | None, "a third wheel"] = None
    wheels: Annotated[tuple[Wheel, ...], "all wheels"] = ()


wheels = st.builds(Wheel, size=st.integers(), name=st.text())
floats = st.floats(allow_nan=False)
bikes = st.builds(
    Bike,
    colour=st.sampled_from(["red", "blue"]),
    weight=floats,
    gears=st.integers(),
    electric=st.booleans(),
    name=st.text(),
    stops=st.lists(st.text()).map(tuple),
    ratios=st.lists(floats).map(tuple),
    front=wheels,
    spare=st.none() | wheels,
    wheels=st.lists(wheels).map(tuple),
)


@given(bikes)
def test_plain_values_make_the_same_settings(bike: Bike) -> None:
    plain = to_dict(bike)
    assert from_dict(Bike, plain) == bike
    assert ("spare" in plain) == (bike.spare is not None)  # TOML has no null


@given(bikes, st.integers(), st.booleans())
def test_overrides_change_what_they_name_and_nothing_else(bike: Bike, gears: int, electric: bool) -> None:
    plain = to_dict(bike)
    before = copy.deepcopy(plain)
    changed = with_overrides(Bike, plain, [f"gears={gears}", f"electric={str(electric).lower()}"])
    assert plain == before
    assert changed == {**plain, "gears": gears, "electric": electric}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("gears=7", {"gears": 7}),
        (" gears = 7 ", {"gears": 7}),
        ("colour=blue", {"colour": "blue"}),
        ('colour="blue"', {"colour": "blue"}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("name=12", {"name": "12"}),  # text stays text
        ("name=true", {"name": "true"}),
        ("stops=['a', 'b']", {"stops": ["a", "b"]}),
        ("front.size=26", {"front": {"size": 26}}),
        ("spare.size=20", {"spare": {"size": 20}}),
        ("wheels=[{size = 1}, {size = 2}]", {"wheels": [{"size": 1}, {"size": 2}]}),
    ],
)
def test_values_of_overrides(override: str, expected: dict[str, Any]) -> None:
    changed = with_overrides(Bike, {}, [override])
    assert changed == expected
    from_dict(Bike, changed)


def test_the_last_override_wins() -> None:
    assert with_overrides(Bike, {"gears": 1}, ["gears=2", "gears=3"]) == {"gears": 3}
    assert with_overrides(Bike, {"front": {"size": 1, "name": "x"}}, ["front.size=2"]) == {
        "front": {"size": 2, "name": "x"}
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gear": 3}, "`gear`: unknown setting; did you mean `gears`?"),
        ({"xyz": 3}, "`xyz`: unknown setting; `seq2seq settings` lists all"),
        ({"front": {"sise": 3}}, "`front.sise`: unknown setting; did you mean `front.size`?"),
        ({"gears": "3"}, "`gears` = '3': expected integer, not text"),
        ({"gears": 3.0}, "`gears` = 3.0: expected integer, not number"),
        ({"gears": True}, "`gears` = True: expected integer, not true | false"),
        ({"weight": True}, "`weight` = True: expected number"),
        ({"electric": 1}, "`electric` = 1: expected true | false"),
        ({"colour": "green"}, "`colour` = 'green': expected one of red, blue"),
        ({"stops": "here"}, "`stops` = 'here': expected a list, such as"),
        ({"wheels": {"size": 1}}, "`wheels` = {'size': 1}: expected a list of tables: begin each with [[wheels]], or"),
        ({"wheels": "big"}, "`wheels` = 'big': expected a list of tables: begin each with [[wheels]], or write wheels"),
        ({"stops": ["here", 3]}, "`stops[1]` = 3: expected text"),
        ({"front": 28}, "`front` = 28: expected a table [front]"),
        ({"wheels": [{"size": 1}, {"size": "x"}]}, "`wheels[1].size` = 'x'"),
        ({"spare": {"name": "no size"}}, "spare.: .*missing.*'size'"),
    ],
)
def test_what_is_not_declared_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(ConfigError, match=pattern) as caught:
        from_dict(Bike, values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gears", "expected KEY=VALUE"),
        ("gear=3", "did you mean `gears`?"),
        ("frnt.size=3", "did you mean `front`?"),
        ("front.sise=3", "did you mean `front.size`?"),
        ("gears.size=3", "`gears`: is no table"),
        ("wheels.size=3", "`wheels`: is a list of tables"),
        ("=3", "unknown setting"),
    ],
)
def test_overrides_that_name_nothing_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_overrides(Bike, {}, [override])
    assert message in str(caught.value)


def test_an_override_below_a_value_that_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="`front`"):
        from_dict(Bike, with_overrides(Bike, {"front": 28}, ["front.size=26"]))


def test_whole_numbers_are_numbers() -> None:
    weight = from_dict(Bike, {"weight": 12}).weight
    assert weight == 12
    assert type(weight) is float


def test_every_setting_of_a_run_is_explained_and_has_a_type_for_people() -> None:
    settings = dict(reference(Config))
    assert "model.d_model" in settings
    assert "data.validation.source" in settings
    for name, setting in settings.items():
        assert setting.meaning, name
        assert setting.meaning[-1] not in ".\n", name
        assert not any(mark in type_name(setting.type) for mark in ("Annotated", "typing", "<")), name


def test_type_names_and_defaults() -> None:
    settings = declared(Bike)
    names = {name: type_name(setting.type) for name, setting in settings.items()}
    assert names["gears"] == "integer"
    assert names["weight"] == "number"
    assert names["electric"] == "true | false"
    assert names["colour"] == "red | blue"
    assert names["stops"] == "list of text"
    assert settings["weight"].default == 12.5


def test_flat_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": 3}) == {"a.b": 1, "a.c.d": [2], "e": 3}
