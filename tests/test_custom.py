"""Names in configs: entries of a table, or objects of the user's own code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.custom import find_named
from mocap_ray.errors import UserError

TABLE = {"one": Path("1"), "two": Path("2")}
OWN = Path("own")
NUMBER = 3


def test_a_name_of_the_table_is_its_entry_and_any_other_is_imported() -> None:
    assert find_named("two", TABLE, Path, what="thing") is TABLE["two"]
    assert find_named("tests.test_custom:OWN", TABLE, Path, what="thing") is OWN


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("three", "No thing 'three'. Expected one of one, two, or package.module:NAME of your own Path"),
        ("no_module:X", "No thing 'no_module:X': No module named 'no_module'"),
        ("tests.test_custom:NOTHING", "has no attribute 'NOTHING'"),
        ("tests.test_custom:NUMBER", "is of type int. Expected a pathlib.Path"),
        (":X", "No thing ':X': Empty module name"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_was_expected(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        find_named(name, TABLE, Path, what="thing")
    assert said in str(caught.value)
