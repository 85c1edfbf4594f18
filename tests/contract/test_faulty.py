"""The suite is tested too: each store with a seeded fault breaks the law that is about it."""

from __future__ import annotations

import pytest

from atlas.testing import run_contract
from atlas.testing.faulty import FAULTS
from atlas.testing.laws import LAWS


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_store_breaks_its_law(name: str) -> None:
    fault = FAULTS[name]
    broken = run_contract(fault.fresh, [fault.law])
    assert list(broken) == [fault.law]


@pytest.mark.nightly
def test_every_law_is_broken_by_some_store() -> None:
    """A law that no fault breaks may as well say nothing."""
    unbroken = set(LAWS)
    for fault in FAULTS.values():
        unbroken -= set(run_contract(fault.fresh, sorted(unbroken)))
    assert unbroken == set()
