"""Where records live: the store's promise, its queries, and the backends. May import `model` and `errors`.

`open_storage(url, collection)` is the door for programs that want a typed key-value store and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection import Collection
    from .explaining import explain
    from .open import open_store
    from .plain import Storage, open_storage
    from .plain_transaction import Isolation, Outcome, StorageTransaction
    from .protocol import Store, Transaction
    from .query import Query, both, contains, either, eq, exists, ge, glob, gt, isin, le, like, lt, match, ne, negate

__all__ = [
    "Collection",
    "Isolation",
    "Outcome",
    "Query",
    "Storage",
    "StorageTransaction",
    "Store",
    "Transaction",
    "both",
    "contains",
    "either",
    "eq",
    "exists",
    "explain",
    "ge",
    "glob",
    "gt",
    "isin",
    "le",
    "like",
    "lt",
    "match",
    "ne",
    "negate",
    "open_storage",
    "open_store",
]

_HOMES = {
    "Collection": ".collection",
    "Isolation": ".plain_transaction",
    "Outcome": ".plain_transaction",
    "Storage": ".plain",
    "StorageTransaction": ".plain_transaction",
    "Store": ".protocol",
    "Transaction": ".protocol",
    "explain": ".explaining",
    "open_storage": ".plain",
    "open_store": ".open",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is asked for: most of the package needs no more than a few of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, ".query"), __name__), name)
