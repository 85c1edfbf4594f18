"""The contract suite that every store passes, for authors of stores; needs pytest and hypothesis installed.

It may import `storage` and what lies below; only tests import it.

`StoreContract` is the class to inherit, `run_contract` the same without pytest, `machine_of` a state machine that
drives a store beside a plain dict. `atlas.testing.faulty` has stores that break one promise each.
"""

import pytest

for _name in ("records", "constraints", "refusals", "conditions", "answers", "transactions", "sequences", "lifecycle"):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")
pytest.register_assert_rewrite(
    f"{__name__}.concurrency", f"{__name__}.expiry", f"{__name__}.generated", f"{__name__}.machine"
)

from .contract import StoreContract, run_contract  # noqa: E402 - asserts are rewritten only before their import
from .laws import StoreFactory  # noqa: E402
from .machine import machine_of  # noqa: E402

__all__ = ["StoreContract", "StoreFactory", "machine_of", "run_contract"]
