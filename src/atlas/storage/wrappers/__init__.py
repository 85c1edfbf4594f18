"""Stores around stores, in any order: cached, observed, read-only, metered. May import `storage`, never a backend."""

from .cached import CachedStore, CacheFigures
from .metered import Figures, Histogram, MeteredStore
from .observed import Middleware, Notice, ObservedStore, Subscription
from .operation import Operation
from .read_only import ReadOnlyStore

__all__ = [
    "CacheFigures",
    "CachedStore",
    "Figures",
    "Histogram",
    "MeteredStore",
    "Middleware",
    "Notice",
    "ObservedStore",
    "Operation",
    "ReadOnlyStore",
    "Subscription",
]
