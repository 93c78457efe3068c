"""A range that holds nothing is refused, and a rule allows finite numbers alone."""

from math import inf, nan
from typing import Any

import pytest

from brainseg.config.distributions import (
    Above,
    Choice,
    Integers,
    LogUniform,
    Uniform,
    Within,
)


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: Uniform(1.0, 1.0),
        lambda: Uniform(nan, 1.0),
        lambda: LogUniform(0.0, 1.0),
        lambda: LogUniform(2.0, 1.0),
        lambda: Integers(3, 3),
        lambda: Integers(0, 4, 0),
        lambda: Choice(),
        lambda: Choice(8, 8),
    ],
)
def test_a_range_that_holds_nothing_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        nonsense()


@pytest.mark.parametrize("rule", [Above(0), Within(0), Within(0, 1)])
def test_no_rule_allows_what_is_not_a_number_or_not_finite(rule: Above | Within) -> None:
    assert not any(rule.allows(value) for value in (nan, inf, -inf))


def test_above_excludes_its_bound_and_within_includes_both() -> None:
    assert not Above(0).allows(0) and Above(0).allows(1e-9)
    assert Within(0, 1).allows(0) and Within(0, 1).allows(1) and not Within(0, 1).allows(1.001)
