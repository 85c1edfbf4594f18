"""The plain view of a collection: key-value verbs, pages, queries and transactions, typed by the record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import msgspec
import pytest
from tests.contract.kinds import BACKENDS, Spots

from atlas.errors import AtlasError, ConflictError, InputError, StoreBusyError, StoreTimeoutError, VersionError
from atlas.storage.collection import Collection
from atlas.storage.memory import MemoryStore
from atlas.storage.open import open_store
from atlas.storage.plain import Storage, open_storage
from atlas.storage.plain_transaction import Isolation, Outcome, StorageTransaction
from atlas.storage.protocol import DEFAULT_TIMEOUT, Committed, Store, Transaction
from atlas.storage.query import Query, ge, gt
from atlas.storage.wrappers import CachedStore, ListedStore
from atlas.storage.wrappers.around import StoreAround

pytestmark = pytest.mark.anyio


class Book(msgspec.Struct, frozen=True, kw_only=True):
    isbn: str
    title: str = ""
    year: int = 2000
    version: int = 1


class Loan(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 0
    book: str


BOOKS = Collection("books", Book, key="isbn", columns=("title", "year"), indexes=(("year",),), unique=("title",))
LOANS = Collection("loans", Loan, key="number", sequence=True)
COLLECTIONS: Sequence[Collection[Any]] = (BOOKS, LOANS)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, spots: Spots) -> str:
    """The address of a new store."""
    return spots.new(request.param).url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    made = open_store(url, COLLECTIONS)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def books(store: Store) -> Storage[Book]:
    return Storage(store, BOOKS)


def book(number: int, **fields: Any) -> Book:
    return Book(isbn=f"{number:03d}", **{"title": f"Title {number}", "year": 1900 + number, **fields})


async def listed(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


async def test_what_is_set_is_got(books: Storage[Book]) -> None:
    """The verbs of any key-value store, and what they say."""
    assert await books.get("001") is None
    assert not await books.has("001")
    await books.set(book(1))
    assert await books.get("001") == book(1)
    assert await books.has("001")
    await books.set(book(1, year=1950))
    assert await books.get("001") == book(1, year=1950)
    assert await books.size() == 1
    assert await books.delete("001") is True
    assert await books.delete("001") is False
    assert await books.size() == 0


async def test_several_at_once(books: Storage[Book]) -> None:
    """All or none, in one transaction each; generators are taken too."""
    assert await books.set_many(book(n) for n in range(5)) == 5
    assert await books.get_many(f"00{n}" for n in (1, 3, 9)) == {"001": book(1), "003": book(3)}
    assert await books.delete_many(f"00{n}" for n in (1, 9)) == 1
    with pytest.raises(ConflictError):
        await books.set_many([book(7), book(8, title="Title 0")])
    assert await listed(books.keys()) == ["000", "002", "003", "004"]
    assert await books.clear() == 4
    assert await books.clear() == 0
    assert await listed(books.keys()) == []


async def test_the_expected_version_is_compared(books: Storage[Book]) -> None:
    """Who was overtaken must hear it."""
    await books.set(book(1, version=3))
    with pytest.raises(VersionError):
        await books.set(book(1, version=4), expected_version=2)
    await books.set(book(1, version=4), expected_version=3)
    found = await books.get("001")
    assert found is not None
    assert found.version == 4


async def test_a_sequence_is_appended_to(store: Store) -> None:
    """Its numbers are the store's."""
    loans = Storage(store, LOANS)
    await loans.set(Loan(book="a"))
    assert await loans.set_many([Loan(book="b"), Loan(book="c")]) == 2
    assert await listed(loans.keys(page=2)) == [1, 2, 3]
    assert await listed(loans.query()) == [Loan(number=n, book=name) for n, name in enumerate("abc", 1)]


async def test_keys_come_in_pages_while_others_write(books: Storage[Book]) -> None:
    """A key that is there all the while comes exactly once, in order; one that comes or goes, at most once."""
    await books.set_many(book(n) for n in range(0, 100, 2))
    seen: list[str] = []
    async for key in books.keys(page=7):
        seen.append(key)
        number = int(key)
        if number % 10 == 4:
            await books.delete(f"{number + 2:03d}")
            await books.set(book(number - 1))
            await books.set(book(number + 21))
    assert seen == sorted(set(seen))
    always = {f"{n:03d}" for n in range(0, 100, 2) if n % 10 != 6}
    assert always <= set(seen)


@pytest.mark.parametrize("page", [1, 3, 10, 500])
async def test_a_query_is_streamed_in_its_order(books: Storage[Book], page: int) -> None:
    """Whatever the page's size, with limit and offset, the rows are those of the query asked at once."""
    await books.set_many(book(n, year=1900 + n % 3) for n in range(10))
    queries = [
        Query(BOOKS),
        Query(BOOKS).where(ge("year", 1901)).order_by("-year"),
        Query(BOOKS).order_by("year", "-title").offset(2).limit(5),
        Query(BOOKS).limit(3),
        Query(BOOKS).limit(0),
    ]
    for query in queries:
        expected = await books.store.read(lambda tx, asked=query: tx.query(asked))  # type: ignore[misc]
        assert await listed(books.query(query, page=page)) == expected
    assert await books.count(queries[1]) == 6
    assert await books.count() == 10
    assert await books.aggregate(Query(BOOKS).group_by("year").compute(all="count")) == [
        {"year": year, "all": number} for year, number in ((1900, 4), (1901, 3), (1902, 3))
    ]


async def test_a_stream_that_is_left_keeps_nothing_open(books: Storage[Book]) -> None:
    """Each page is a read of its own: who stops listening holds up nobody."""
    await books.set_many(book(n) for n in range(10))
    rows = books.query(page=2)
    assert await anext(rows) == book(0)
    await books.clear()
    assert [row.isbn async for row in rows] == ["001"]
    assert await books.size() == 0


async def test_queries_of_something_else_are_refused(books: Storage[Book]) -> None:
    """The view is typed: another collection's records, or tuples, would be a lie."""
    wrong: Any = Query(LOANS)
    for asked in (wrong, Query(BOOKS).select("title")):
        with pytest.raises(InputError):
            await listed(books.query(asked))
    with pytest.raises(InputError):
        await books.count(wrong)
    with pytest.raises(InputError):
        await listed(books.keys(page=0))
    with pytest.raises(InputError):
        await listed(books.query(page=-1))


def lend(view: StorageTransaction[Book]) -> int:
    """Use every verb of a view."""
    assert view.set_many([book(1), book(2), book(3)]) == 3
    view.set(book(4), expected_version=0)
    assert view.has("004")
    assert view.get_many(["001", "009"]) == {"001": book(1)}
    assert view.delete("001")
    assert view.delete_many(["002", "002"]) == 1
    view.beside(LOANS).set(Loan(book="003"))
    assert view.keys() == ["003", "004"]
    assert view.size() == view.count(Query(BOOKS)) == 2
    assert view.query(Query(BOOKS).where(gt("year", 1903))) == [book(4)]
    assert view.aggregate(Query(BOOKS).compute(last="max:year")) == [{"last": 1904}]
    return view.size()


async def test_a_transaction_has_the_same_verbs(books: Storage[Book]) -> None:
    """And sees what it wrote; other collections of the store are changed with it."""
    outcome = await books.transaction(lend)
    assert (outcome.value, outcome.is_committed, outcome.seq, outcome.attempts) == (2, True, 1, 1)
    assert await listed(books.keys()) == ["003", "004"]
    assert await listed(books.beside(LOANS).query()) == [Loan(number=1, book="003")]
    cleared = await books.transaction(lambda view: view.clear())
    assert cleared.value == 2
    assert await books.size() == 0


async def test_an_error_leaves_nothing(books: Storage[Book]) -> None:
    """It reaches the caller as it is, and is not retried unless it says that this helps."""
    runs: list[int] = []

    def fails(view: StorageTransaction[Book]) -> None:
        runs.append(1)
        view.set(book(1))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await books.transaction(fails, retries=5)
    assert len(runs) == 1
    assert await books.size() == 0


async def test_nesting_means_savepoints(books: Storage[Book]) -> None:
    """An inner operation that fails takes back only itself; caught, the outer one goes on."""

    def fails(view: StorageTransaction[Book]) -> None:
        view.set(book(2))
        view.transaction(lambda inner: inner.set(book(3)))
        raise ZeroDivisionError

    def outer(view: StorageTransaction[Book]) -> list[str]:
        view.set(book(1))
        with pytest.raises(ZeroDivisionError):
            view.transaction(fails)
        view.transaction(lambda inner: inner.transaction(lambda innermost: innermost.set(book(4))))
        with pytest.raises(ZeroDivisionError), view.savepoint():
            fails(view)
        return view.keys()

    assert (await books.transaction(outer)).value == ["001", "004"]
    assert await listed(books.keys()) == ["001", "004"]


async def test_commit_and_rollback_end_the_function_early(books: Storage[Book]) -> None:
    """With a value; nothing after them is run, and no `except Exception` of the function is in their way."""

    def ends(view: StorageTransaction[Book], number: int, how: str) -> str:
        view.set(book(number))
        try:
            with view.savepoint():
                view.set(book(number + 1))
                getattr(view, how)(how)
        except Exception:  # noqa: BLE001 - what users write
            return "caught"
        return "went on"

    kept = await books.transaction(lambda view: ends(view, 1, "commit"))
    lost = await books.transaction(lambda view: ends(view, 5, "rollback"))
    assert (kept.value, kept.is_committed) == ("commit", True)
    assert (lost.value, lost.is_committed) == ("rollback", False)
    assert await listed(books.keys()) == ["001", "002"]


async def test_commit_and_rollback_of_an_inner_operation_end_only_it(books: Storage[Book]) -> None:
    """And those of the outer view end both, from wherever they are called."""

    def inner(view: StorageTransaction[Book], number: int, how: str) -> str:
        view.set(book(number))
        getattr(view, how)(how)
        return "went on"

    def both(view: StorageTransaction[Book]) -> list[str]:
        view.set(book(1))
        return [
            view.transaction(lambda nested: inner(nested, 2, "commit")),
            view.transaction(lambda nested: inner(nested, 3, "rollback")),
        ]

    def through(view: StorageTransaction[Book], how: str) -> str:
        def nested(own: StorageTransaction[Book]) -> str:
            own.set(book(8))
            return inner(view, 9, how)

        view.transaction(nested)
        return "went on"

    assert (await books.transaction(both)).value == ["commit", "rollback"]
    assert await listed(books.keys()) == ["001", "002"]
    assert not (await books.transaction(lambda view: through(view, "rollback"))).is_committed
    assert await listed(books.keys()) == ["001", "002"]
    assert (await books.transaction(lambda view: through(view, "commit"))).value == "commit"
    assert await listed(books.keys()) == ["001", "002", "008", "009"]


async def test_a_weaker_isolation_gives_the_stronger_and_says_so(books: Storage[Book]) -> None:
    """Nobody has to handle what cannot happen, and nobody is told of a weakness that is not there."""
    for asked in Isolation:
        outcome = await books.transaction(lambda view: view.size(), isolation=asked)
        assert (outcome.isolation, outcome.asked) == (Isolation.SERIALIZABLE, asked)
        assert outcome.is_stronger is (asked is not Isolation.SERIALIZABLE)
    assert not (await books.transaction(lambda view: view.size())).is_stronger
    assert (await books.transaction(lambda view: view.size(), isolation="read committed")).is_stronger
    with pytest.raises(InputError):
        await books.transaction(lambda view: view.size(), isolation="chaos")


async def test_a_transaction_past_its_deadline_is_undone(books: Storage[Book]) -> None:
    """It can be retried, with as much time again."""
    runs: list[int] = []

    def slow(view: StorageTransaction[Book]) -> int:
        runs.append(1)
        view.set(book(1))
        end = datetime.now(UTC) + timedelta(seconds=1)
        while datetime.now(UTC) < end and len(runs) < 3:
            view.get("001")
        return len(runs)

    with pytest.raises(StoreTimeoutError):
        await books.transaction(slow, timeout=timedelta(milliseconds=20))
    assert await books.size() == 0
    runs.clear()
    outcome = await books.transaction(slow, timeout=timedelta(milliseconds=20), retries=8)
    assert outcome.attempts <= outcome.value == 3
    assert await books.size() == 1


class Deadlocking(StoreAround):
    """A store that gives transactions up as servers do, so many times; each has run by then."""

    def __init__(self, inner: Store, *errors: AtlasError) -> None:
        super().__init__(inner)
        self.errors = list(errors)

    async def transact(
        self, work: Callable[[Transaction], Any], *, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Committed[Any]:
        def given_up(tx: Transaction) -> Any:
            value = work(tx)
            if self.errors:
                raise self.errors.pop(0)
            return value

        return await self.inner.transact(given_up, timeout=timeout)


async def test_what_a_retry_helps_is_tried_again(store: Store) -> None:
    """Up to so many times, each from the beginning; then the error is the caller's."""
    waits = StoreBusyError("a deadlock, given up for the other")
    books = Storage(Deadlocking(store, waits, waits), BOOKS)
    outcome = await books.transaction(lambda view: view.set(book(view.size())), retries=2)
    assert outcome.attempts == 3
    assert await listed(books.keys()) == ["000"]
    books = Storage(Deadlocking(store, waits, waits), BOOKS)
    with pytest.raises(StoreBusyError):
        await books.transaction(lambda view: view.set(book(7)), retries=1)
    books = Storage(Deadlocking(store, ConflictError("decided")), BOOKS)
    with pytest.raises(ConflictError):
        await books.transaction(lambda view: view.set(book(7)), retries=3)
    assert await listed(Storage(store, BOOKS).keys()) == ["000"]


async def test_concurrent_transactions_lose_nothing(books: Storage[Book]) -> None:
    """Each sees what the one before wrote."""
    await books.set(book(1, year=0))

    def grow(view: StorageTransaction[Book]) -> None:
        found = view.get("001")
        assert found is not None
        view.set(msgspec.structs.replace(found, year=found.year + 1))

    await asyncio.gather(*(books.transaction(grow) for _ in range(20)))
    found = await books.get("001")
    assert found is not None
    assert found.year == 20


async def test_active_transactions_are_listed(store: Store) -> None:
    """With id, start, name and tries, for all views beside one another; those that ended, however, are not."""
    waits = StoreBusyError("a deadlock")
    books = Storage(Deadlocking(store, waits), BOOKS)
    loans = books.beside(LOANS)
    seen: list[Any] = []

    def lending(view: StorageTransaction[Loan]) -> None:
        seen.append(loans.transactions.listed())
        view.set(Loan(book="a"))

    begun = datetime.now(UTC)
    await asyncio.gather(
        loans.transaction(lending, retries=1),
        books.transaction(lambda view: view.set(book(1)), name="filling", retries=1),
    )
    first, *_, last = seen
    assert {(active.name.rpartition(".")[2], active.collection) for active in first} == {
        ("lending", "loans"),
        ("filling", "books"),
    }
    assert len({active.id for active in first}) == 2
    assert all(begun <= active.started <= datetime.now(UTC) for active in first)
    assert max(active.attempts for active in last) in {1, 2}
    with pytest.raises(ZeroDivisionError):
        await books.transaction(lambda _: 1 // 0)
    assert books.transactions.listed() == ()


async def test_all_transactions_of_a_store_can_be_listed(store: Store) -> None:
    """Also those that are no view's: each once, with the name of its function."""
    listing = ListedStore(store)
    books, loans = Storage(listing, BOOKS), Storage(listing, LOANS)
    seen: list[list[tuple[str, str | None]]] = []

    def looking(_: Any) -> None:
        seen.append([(active.name.rpartition(".")[2], active.collection) for active in listing.transactions.listed()])

    await asyncio.gather(books.transaction(looking), loans.transaction(looking, name="lend"), listing.transact(looking))
    for active in seen:
        assert len(active) == len(set(active))
        assert set(active) <= {("looking", "books"), ("lend", "loans"), ("looking", None)}
    assert len(seen[0]) == 3
    assert books.transactions is loans.transactions
    assert listing.transactions.listed() == ()


async def test_the_view_of_a_cached_store_is_the_same(store: Store) -> None:
    """Wrappers are stores; a rollback by the function leaves nothing in the cache."""
    cached = CachedStore(store, staleness=timedelta(seconds=1))
    books = Storage(cached, BOOKS)
    await books.set(book(1))

    def undone(view: StorageTransaction[Book]) -> None:
        view.set(book(1, year=1))
        view.rollback()

    assert not (await books.transaction(undone)).is_committed
    for _ in range(2):
        assert await books.get("001") == book(1)
    assert await books.get_many(["001", "002"]) == {"001": book(1)}


async def test_a_url_is_enough(url: str) -> None:
    """For a program that wants a place for its records and nothing else."""
    async with open_storage(url, BOOKS, LOANS) as books:
        await books.set(book(1))
        await books.beside(LOANS).set(Loan(book="001"))
        assert await books.get("001") == book(1)
    if "memory" not in url:
        async with open_storage(url, BOOKS, LOANS) as books:
            assert await books.get("001") == book(1)


async def test_record_types_are_checked(store: Store) -> None:
    """Checked by mypy: a view gives and takes the records of its collection."""
    books = Storage(store, BOOKS)
    assert_type(books, Storage[Book])
    assert_type(await books.get("001"), Book | None)
    assert_type(await books.get_many(["001"]), dict[Any, Book])
    assert_type(books.beside(LOANS), Storage[Loan])
    assert_type(await books.transaction(lambda view: view.get("001")), Outcome[Book | None])
    async for found in books.query():
        assert_type(found, Book)
    with pytest.raises(AttributeError):
        await books.set(Loan(book="a"))  # type: ignore[arg-type]
    memory = Storage(MemoryStore([BOOKS]), BOOKS)
    with pytest.raises(InputError):
        await memory.query(Query(LOANS)).__anext__()  # type: ignore[arg-type]
