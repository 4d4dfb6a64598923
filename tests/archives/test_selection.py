"""One rule for what a pattern means, on recordings of any archive."""

from __future__ import annotations

import pytest

from mocap_ray.archives.selection import matched, select, unmatched
from mocap_ray.errors import UserError
from mocap_ray.records import Recording


def recording(source: str) -> Recording:
    name = source.rpartition(".")[0]
    return Recording(name.split("/")[0], name, "", source, 1, "1")


TAKES = [
    recording(s) for s in ("CMU/01/a.npz", "CMU/02/a.npz", "KIT/3/b.npz", "KIT/3/Jog [2].npz", "lab/x.bvh")
]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("CMU/01", ["CMU/01/a"]),
        ("CMU/01/", ["CMU/01/a"]),
        ("./CMU/01", ["CMU/01/a"]),
        ("CMU", ["CMU/01/a", "CMU/02/a"]),
        ("CMU/*", ["CMU/01/a", "CMU/02/a"]),
        ("CMU/0?", ["CMU/01/a", "CMU/02/a"]),
        ("CMU/[!0]2", []),
        ("CMU/[01]2", ["CMU/02/a"]),
        ("*/a", ["CMU/01/a", "CMU/02/a"]),
        ("*/b.npz", ["KIT/3/b"]),
        ("CMU/01/a.npz", ["CMU/01/a"]),
        ("lab/x.bvh", ["lab/x"]),
        ("lab/x.npz", []),
        ("KIT/3/Jog [2]", ["KIT/3/Jog [2]"]),
        ("KIT/3/Jog [2].npz", ["KIT/3/Jog [2]"]),
        ("CMU/0", []),
        ("cmu/01", []),
        ("01", []),
        ("", []),
        ("/", []),
    ],
)
def test_what_a_pattern_means(pattern: str, names: list[str]) -> None:
    assert [r.name for r in matched(TAKES, [pattern])] == names
    assert unmatched(TAKES, [pattern]) == ([] if names else [pattern])
    for others in ({"exclude": [pattern]}, {"include": [pattern]}):
        if names:
            expected = names if "include" in others else [r.name for r in TAKES if r.name not in names]
            assert [r.name for r in select(TAKES, **others, where="x")] == expected


def test_exclude_takes_precedence_over_include() -> None:
    assert [r.name for r in select(TAKES, include=["CMU"], exclude=["CMU/02"], where="x")] == ["CMU/01/a"]


def test_a_selection_of_nothing_says_what_names_look_like() -> None:
    with pytest.raises(
        UserError, match=r"select none of 5 recordings\. Patterns .* such as 'CMU/01/a' and 'CMU/01'"
    ):
        select(TAKES, include=["cmu/*"], where="x")
