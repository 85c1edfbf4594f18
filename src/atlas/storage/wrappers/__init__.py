"""Stores around stores: cached, listed, metered, observed, read-only. May import `storage`, but no backend."""

from .cached import CachedStore, CacheFigures
from .listed import ActiveTransaction, ActiveTransactions, ListedStore
from .metered import Figures, Histogram, MeteredStore
from .observed import Middleware, Notice, ObservedStore, Subscription
from .operation import Operation
from .read_only import ReadOnlyStore

__all__ = [
    "ActiveTransaction",
    "ActiveTransactions",
    "CacheFigures",
    "CachedStore",
    "Figures",
    "Histogram",
    "ListedStore",
    "MeteredStore",
    "Middleware",
    "Notice",
    "ObservedStore",
    "Operation",
    "ReadOnlyStore",
    "Subscription",
]
