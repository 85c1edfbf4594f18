"""Writes so many parts to a JSON file store, and prints each one once it is acknowledged.

Each write is one transaction of a counter, a part and a mark. The log may grow to so many bytes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from atlas.storage.file import FileStore, engine
from atlas.storage.protocol import Transaction
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, part


async def main(path: str, name: str, most: int, compact_bytes: int) -> None:
    engine.COMPACT_BYTES = compact_bytes
    store = FileStore(Path(path), COLLECTIONS)
    await store.open()
    for number in range(most):

        def work(tx: Transaction, key: str = f"{name}-{number}") -> int:
            counter = tx.get(COUNTERS, "n") or Counter(id="n")
            tx.put(COUNTERS, Counter(id="n", value=counter.value + 1))
            tx.put(PARTS, part(key, note="x" * 200))
            tx.append(MARKS, Mark(text=key))
            return counter.value + 1

        done = await store.transact(work)
        print(f"{name}-{number}", done.value, done.seq, flush=True)
    await store.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
