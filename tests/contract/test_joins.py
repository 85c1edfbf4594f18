"""Joins and conditions on groups give on every store what going through all pairs gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import InputError
from atlas.storage.collection import Collection
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, either, eq, ge, gt, isin, negate
from atlas.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

Kind = Literal["inner", "left", "right"]


class Author(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    town: str | None = None


class Book(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    author: str | None = None
    pages: int = 0
    facts: dict[str, Any] = {}


class Loan(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    book: str


AUTHORS: Collection[Author] = Collection("authors", Author, columns=("town",), journaled=False)
BOOKS: Collection[Book] = Collection(
    "books", Book, columns=("author", "pages"), indexes=(("author",),), journaled=False
)
LOANS: Collection[Loan] = Collection("loans", Loan, columns=("book",), journaled=False)
ALL = (AUTHORS, BOOKS, LOANS)

AUTHOR_LISTS = st.lists(st.integers(0, 4), unique=True, max_size=4)
BOOK_LISTS = st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers(0, 3)), max_size=6)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(ALL) if request.param == "memory" else SqliteStore(tmp_path / "j.db", ALL)
    await made.open()
    yield made
    await made.close()


async def fill(store: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.put_many(AUTHORS, [Author(id="ann", town="Ulm"), Author(id="ben", town="Bonn"), Author(id="cleo")])
        tx.put_many(
            BOOKS,
            [
                Book(id="b1", author="ann", pages=100, facts={"shelf": {"row": 1}}),
                Book(id="b2", author="ann", pages=300),
                Book(id="b3", author="ben", pages=200),
                Book(id="b4", author="nobody", pages=50),
                Book(id="b5", pages=10),
            ],
        )
        tx.put_many(LOANS, [Loan(id="l1", book="b1"), Loan(id="l2", book="b1"), Loan(id="l3", book="b9")])

    await store.transact(work)


def written_by(kind: Kind = "inner") -> Query[Book]:
    return Query(BOOKS).join(AUTHORS, on=("author", "id"), name="writer", kind=kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("inner", [("b1", "ann"), ("b2", "ann"), ("b3", "ben")]),
        ("left", [("b1", "ann"), ("b2", "ann"), ("b3", "ben"), ("b4", None), ("b5", None)]),
        ("right", [(None, "cleo"), ("b1", "ann"), ("b2", "ann"), ("b3", "ben")]),
    ],
)
async def test_records_meet_their_partners(store: Store, kind: Kind, expected: list[Any]) -> None:
    await fill(store)
    query = written_by(kind)
    assert await store.read(lambda tx: tx.query(query.select("id", "writer.id"))) == expected
    assert await store.read(lambda tx: tx.count(query)) == len(expected)
    pairs = await store.read(lambda tx: tx.query(query))
    assert [(book and book.id, writer and writer.id) for book, writer in pairs] == expected


async def test_conditions_and_order_speak_of_both(store: Store) -> None:
    await fill(store)
    query = written_by("left").where(either(eq("writer.town", "Bonn"), gt("pages", 250))).order_by("-writer.town", "id")
    assert await store.read(lambda tx: tx.query(query.select("id", "writer.town"))) == [("b2", "Ulm"), ("b3", "Bonn")]
    lonely = written_by("left").where(eq("writer.id", None), ge("pages", 20)).select("id")
    assert await store.read(lambda tx: tx.query(lonely)) == [("b4",)]
    shelf = written_by().where(eq("facts.shelf.row", 1)).select("id", "facts.shelf.row")
    assert await store.read(lambda tx: tx.query(shelf)) == [("b1", 1)]


async def test_joins_follow_each_other(store: Store) -> None:
    await fill(store)
    query = Query(LOANS).join(BOOKS, on=("book", "id")).join(AUTHORS, on=("books.author", "id"), kind="left")
    rows = await store.read(lambda tx: tx.query(query.select("id", "books.pages", "authors.town")))
    assert rows == [("l1", 100, "Ulm"), ("l2", 100, "Ulm")]
    page = query.limit(1).offset(1).select("id")
    assert await store.read(lambda tx: tx.query(page)) == [("l2",)]


async def test_groups_of_joined_rows_are_counted_and_kept(store: Store) -> None:
    await fill(store)
    grouped = written_by("left").group_by("writer.town").compute(books="count", pages="sum:pages")
    assert await store.read(lambda tx: tx.aggregate(grouped)) == [
        {"writer.town": None, "books": 2, "pages": 60},
        {"writer.town": "Bonn", "books": 1, "pages": 200},
        {"writer.town": "Ulm", "books": 2, "pages": 400},
    ]
    alone = Query(BOOKS).group_by("author").compute(books="count", most="max:pages")
    kept = alone.having(gt("books", 1)).having(negate(eq("author", None)))
    assert await store.read(lambda tx: tx.aggregate(kept)) == [{"author": "ann", "books": 2, "most": 300}]
    listed = alone.having(isin("author", Query(AUTHORS).where(eq("town", "Bonn")).select("id")))
    assert [row["author"] for row in await store.read(lambda tx: tx.aggregate(listed))] == ["ben"]


async def test_a_join_sees_what_its_transaction_has_written(store: Store) -> None:
    """Rules that ask in the middle of a change must see the change."""
    await fill(store)

    def work(tx: Transaction) -> list[Any]:
        tx.put(AUTHORS, Author(id="nobody", town="Kiel"))
        tx.delete(BOOKS, "b3")
        return tx.query(written_by().select("id", "writer.town"))

    assert (await store.transact(work)).value == [("b1", "Ulm"), ("b2", "Ulm"), ("b4", "Kiel")]


@pytest.mark.parametrize(
    "query",
    [
        Query(BOOKS).join(AUTHORS, on=("writer", "id")),
        Query(BOOKS).join(AUTHORS, on=("author", "name")),
        Query(BOOKS).join(AUTHORS, on=("author", "id"), name="pages"),
        Query(BOOKS).join(AUTHORS, on=("author", "id")).join(AUTHORS, on=("author", "id")),
        written_by().select("writer.age"),
        written_by().where(eq("reader.id", "x")),
        written_by().order_by("writer.age"),
    ],
)
async def test_what_no_collection_has_is_refused(store: Store, query: Query[Any]) -> None:
    with pytest.raises(InputError) as refused:
        await store.read(lambda tx: tx.query(query))
    assert refused.value.field == "query"


async def test_a_condition_on_groups_speaks_of_groups(store: Store) -> None:
    query = Query(BOOKS).group_by("author").compute(books="count").having(gt("pages", 1))
    with pytest.raises(InputError, match="'pages'"):
        await store.read(lambda tx: tx.aggregate(query))


@settings(max_examples=80, deadline=None)
@given(AUTHOR_LISTS, BOOK_LISTS, st.sampled_from(["inner", "left", "right"]))
def test_a_join_is_what_all_pairs_give(authors: list[int], books: list[tuple[int | None, int]], kind: Kind) -> None:
    import asyncio

    async def run() -> None:
        store = MemoryStore(ALL)
        await store.open()
        writers = [Author(id=str(number)) for number in authors]
        made = [
            Book(id=f"b{n}", author=None if who is None else str(who), pages=pages)
            for n, (who, pages) in enumerate(books)
        ]

        def work(tx: Transaction) -> None:
            tx.put_many(AUTHORS, writers)
            tx.put_many(BOOKS, made)

        await store.transact(work)
        pairs: list[tuple[str | None, str | None]] = [(b.id, w.id) for b in made for w in writers if b.author == w.id]
        if kind == "left":
            pairs += [(b.id, None) for b in made if b.author not in {w.id for w in writers}]
        if kind == "right":
            pairs += [(None, w.id) for w in writers if w.id not in {b.author for b in made}]
        found = await store.read(lambda tx: tx.query(written_by(kind).select("id", "writer.id")))
        assert sorted(found, key=str) == sorted(pairs, key=str)

    asyncio.run(run())
