"""Cuts of a longest length: nothing is lost, and no cut is too short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.motion.windows import cuts


@given(rows=st.integers(0, 2000), least=st.integers(1, 80), more=st.integers(0, 200))
def test_cuts_cover_every_row_once_within_the_limits(rows: int, least: int, more: int) -> None:
    most = 2 * least - 1 + more
    found = cuts(rows, most=most, least=least)
    assert [k for part in found for k in range(part.start, part.stop)] == list(range(rows))
    lengths = [part.stop - part.start for part in found]
    assert max(lengths) <= most
    assert rows < least or min(lengths) >= least
    assert all(length == most for length in lengths[:-2])  # as many complete ones as possible
    assert len(found) == max(1, -(-rows // most))  # and no more cuts than needed


@pytest.mark.parametrize(("most", "least"), [(38, 20), (5, 0), (0, 1)])
def test_limits_that_leave_a_rest_are_refused(most: int, least: int) -> None:
    with pytest.raises(ValueError, match=rf"most is {most}, least is {least}. Expected"):
        cuts(100, most=most, least=least)
