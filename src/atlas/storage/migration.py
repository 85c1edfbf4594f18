"""Migrations: the numbered steps that bring a database from one schema to the next, and what a store says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..errors import StoreFormatError, StoreNewerError


class Migration(msgspec.Struct, frozen=True):
    """One step from a schema to the next; never changed once released."""

    name: str
    script: str

    @property
    def checksum(self) -> str:
        """The digest by which an altered migration is noticed."""
        import hashlib

        return hashlib.blake2b(self.script.encode(), digest_size=16).hexdigest()


def check_number(found: int, known: int, place: object) -> None:
    """Refuse a store of a schema that a newer Atlas made, or none did."""
    if found > known:
        raise StoreNewerError(f"{place} has schema {found}, this Atlas knows {known}")
    if found < 1:
        raise StoreFormatError(f"{place} has schema {found}, and no Atlas made one", hint="Restore a copy.")


def check_applied(applied: Mapping[int, str], migrations: Sequence[Migration], place: object) -> None:
    """Refuse a store to which other migrations were applied than these; the first of them leads to schema 2."""
    for number, migration in enumerate(migrations, 2):
        if applied.get(number) != migration.checksum:
            raise StoreFormatError(
                f"migration {number} ({migration.name}) of {place} differs from this Atlas's",
                hint="Open the store with the Atlas that wrote it, and export from there.",
            )


def misfit(number: int, migration: Migration, place: object, why: str) -> StoreFormatError:
    """Return the error for a migration that does not fit what the store holds, and changed nothing."""
    return StoreFormatError(
        f"migration {number} ({migration.name}) does not fit {place}: {why}",
        hint=f"It has schema {number - 1} as before; go on with the Atlas that wrote it, or mend it there.",
    )
