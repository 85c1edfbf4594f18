"""One stream of events: written with every change, read by everything else. May import `storage`, `model`, `errors`."""

from .ledger import EVENTS, ONCE
from .recorder import Call, Journal, Recording, Written

__all__ = ["EVENTS", "ONCE", "Call", "Journal", "Recording", "Written"]
