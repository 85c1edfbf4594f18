"""The PostgreSQL store keeps the contract."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from tests.contract.postgres_servers import Server, server

from atlas.errors import AtlasError, ConfigError, ConflictError, InputError, StoreFormatError, StoreNewerError
from atlas.storage.collection import Collection
from atlas.storage.postgres import PostgresStore
from atlas.storage.postgres.address import parse_address
from atlas.storage.postgres.session import COPY_ROWS
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query, contains, eq, gt, match
from atlas.testing import StoreContract, StoreFactory
from atlas.testing.samples import COLLECTIONS, MARKS, PARTS, Mark, fill, ids, marks, part, rows

T = TypeVar("T")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.schema() as made:
        yield made


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, url: str) -> StoreFactory:
        return lambda collections: PostgresStore(url, collections)


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """Run a call that never waits for an event loop, as the command line does."""
    try:
        call.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits for an event loop")


def test_an_inline_store_needs_no_event_loop(url: str) -> None:
    """Commands do one thing and end: neither threads nor loops are worth their start."""
    store = PostgresStore(url, COLLECTIONS, is_inline=True)
    at_once(store.open())
    threads = threading.active_count()
    at_once(fill(store, [part("a")]))
    assert at_once(marks(store, "a", "b")) == 2
    with pytest.raises(ConflictError):
        at_once(fill(store, [part("b", path="a")]))
    assert at_once(ids(store)) == ["a"]
    assert at_once(store.verify()) == []
    assert at_once(store.maintain())["analyzed"]
    assert at_once(store.statistics())["records"]["marks"] == 2
    assert threading.active_count() == threads
    at_once(store.close())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("atlas")]


async def opened(url: str, **how: Any) -> PostgresStore:
    store = PostgresStore(url, COLLECTIONS, **how)
    await store.open()
    return store


def name_of(url: str) -> str:
    return url.rpartition("schema=")[2]


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("db.example.org/atlas", "require"),
        ("localhost,db.example.org/atlas", "require"),
        ("localhost.example.org/atlas", "require"),
        ("127.0.0.1.example.org/atlas", "require"),
        ("/atlas?host=db.example.org", "require"),
        ("db.example.org/atlas?hostaddr=127.0.0.1", None),
        ("/atlas", "require"),
        ("db.example.org/atlas?sslmode=verify-full", "verify-full"),
        ("db.example.org/atlas?sslmode=disable", "disable"),
        ("127.0.0.1:5433/atlas", None),
        ("localhost/atlas", None),
        ("[::1]/atlas", None),
        ("/atlas?host=/run/postgresql", None),
    ],
)
def test_nothing_leaves_the_machine_unencrypted_unless_that_is_named(place: str, mode: str | None) -> None:
    """Also where the host comes from the environment, which no address tells."""
    assert parse_address(f"postgresql://{place}").connection.get("sslmode") == mode


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:se%2Fcret@127.0.0.1:1/x",
        "postgresql://u@127.0.0.1:1/x?password=se%2Fcret",
        "postgresql://u:se%2Fcret@127.0.0.1:1/x?sslpassword=se/cret&connect_timeout=2",
    ],
)
@pytest.mark.anyio
async def test_a_password_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither by the store, nor in an error, nor in a log."""
    store = PostgresStore(url, COLLECTIONS)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AtlasError) as raised:
        await store.open()
    shown = [store.url, repr(store), repr(store._address), str(raised.value.as_dict()), caplog.text]
    cause: BaseException | None = raised.value
    while cause is not None:
        shown.append(f"{cause!r} {cause}")
        cause = cause.__cause__ or cause.__context__
    assert "127.0.0.1" in store.url
    assert not [text for text in shown if "se/cret" in text or "se%2Fcret" in text]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@h/x?nonsense=secret",
        "postgresql://u:secret@[h/x",
        "postgresql://u:secret@h:port/x",
        "postgresql://u:secret@h/x?schema=Robert'); DROP TABLE students",
        "postgresql://u:secret@h/x?schema=pg_catalog",
        "postgresql://u:secret@h/x?schema=",
        "postgresql://u:secret@h/x?readers=0",
        "postgresql://u:secret@h/x?lifetime=0",
        "postgresql://u:secret@h/x?sslmode=prefer",
        "postgresql://u:secret@h/x?feed=shout",
        "postgresql://u:secret@h/x?=secret",
        # The driver would take the password to end at the first sign, and ask the net for a host named by its rest.
        "postgresql://u:secret@secret@h/x",
        "postgresql://u:1/secret@h/x",
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    """Before anything is connected to, and without repeating what may be a password."""
    with pytest.raises((ConfigError, InputError)) as raised:
        PostgresStore(url, COLLECTIONS)
    assert "u:secret" not in str(raised.value.as_dict())
    assert "secret@" not in str(raised.value.as_dict())
    assert raised.value.hint


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("shema=x", "no option 'shema'"),
        ("readers=0", "1 to 64"),
        ("feed=shout", "listen, poll"),
        ("schema=Shop", "a-z"),
    ],
)
def test_a_mistyped_option_is_named_with_what_it_may_be(option: str, said: str) -> None:
    """Who looks at a URL of a hundred letters wants to know which of them."""
    with pytest.raises((ConfigError, InputError)) as raised:
        PostgresStore(f"postgresql://u@h/x?{option}", COLLECTIONS)
    assert said in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.anyio
async def test_schemas_of_one_database_are_stores_of_their_own(postgres: Server) -> None:
    """Their writers do not wait for each other, and their subscribers hear only of their own."""
    with postgres.schema() as one, postgres.schema() as two:
        first, second = await opened(one), await opened(two)
        told: list[int] = []
        first.subscribe(told.append)
        await marks(second, "a", "b")

        def nested(tx: Transaction) -> int:
            tx.put(PARTS, part("x"))
            assert tx.count(Query(PARTS)) == 1
            return asyncio.run(beside())

        async def beside() -> int:
            store = await opened(two)
            try:
                return await marks(store, "c")
            finally:
                await store.close()

        assert (await first.transact(nested)).value == 3
        assert await marks(first, "a") == 1
        assert (await ids(first), await ids(second)) == (["x"], [])
        assert set(told) <= {1}
        await first.close()
        await second.close()


@pytest.mark.anyio
async def test_many_records_at_once_are_as_good_as_few(url: str) -> None:
    """They go by COPY: difficult texts, absent values, lists, words and numbers come out the same."""
    store = await opened(url)
    text = "tab\t back\\slash \\N new\nline \r é 😀 {}"
    parts = [
        part(f"p{i:04d}", name=f"{text} w{i}", note="", size=i if i % 2 else None, tags=("a", text), weight=i / 4)
        for i in range(COPY_ROWS * 3)
    ]

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("before"))
        tx.put_many(PARTS, parts)
        for made in parts:
            tx.append(MARKS, Mark(text=made.name))

    assert (await store.transact(work)).seq == len(parts)
    assert await rows(store, Query(PARTS).where(gt("id", "c"))) == parts
    assert await ids(store, contains("tags", text), match("w17 slash")) == ["p0017", *(f"p017{n}" for n in range(10))]
    assert (await rows(store, Query(MARKS).where(eq("number", 250))))[0].text == f"{text} w249"
    assert await store.verify() == []
    await store.close()


@pytest.mark.anyio
async def test_a_refusal_among_many_records_is_named_and_leaves_nothing(url: str) -> None:
    """Also of those that were sent before it."""
    store = await opened(url)
    await fill(store, [part("a", path="taken")])
    many = [part(f"p{i}") for i in range(COPY_ROWS * 2)]
    with pytest.raises(ConflictError) as taken:
        await fill(store, [*many, part("x", path="taken")])
    with pytest.raises(InputError) as unknown:
        await fill(store, [*many, part("x", kind="unknown")])
    assert (taken.value.field, unknown.value.field, unknown.value.given) == ("path", "kind", "unknown")
    assert await ids(store) == ["a"]
    await store.close()


@pytest.mark.anyio
async def test_what_postgresql_cannot_hold_is_refused_or_never_found(url: str) -> None:
    """Asking for it is no error: nothing has it."""
    store = await opened(url)
    await fill(store, [part("a")])
    for wrong in (part("b", path="nul\0"), part("b", name="x", path="lone\ud800"), part("b", size=2**63)):
        with pytest.raises((InputError, UnicodeEncodeError)):
            await fill(store, [wrong])
    for value in ("nul\0", "lone\ud800", 2**70, -(2**70), 1e308, True):
        assert await ids(store, eq("path", value)) == []
        assert await store.read(lambda tx, value=value: tx.get(PARTS, value)) is None  # type: ignore[misc]
        assert await ids(store, eq("size", value), eq("weight", value)) == []
    assert await ids(store, gt("path", "A\0"), gt("path", "\ud800")) == []
    assert await ids(store, gt("path", "A\0")) == ["a"]
    await store.close()


class Loose(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    either: int | str | None = None
    number: int | float = 0


@pytest.mark.anyio
async def test_a_field_of_several_types_is_found_by_each(url: str) -> None:
    """Such a column has no one type in SQL; the answers are those of every other store."""
    loose = Collection("loose", Loose, columns=("either", "number"), unique=("either",))
    store = PostgresStore(url, [loose])
    await store.open()
    kept = [Loose(id="a", either=1, number=0.5), Loose(id="b", either="1", number=2**53 + 1), Loose(id="c")]
    await store.transact(lambda tx: tx.put_many(loose, kept))
    assert await rows(store, Query(loose).where(eq("either", 1))) == kept[:1]
    assert await rows(store, Query(loose).where(eq("either", "1"))) == kept[1:2]
    assert await rows(store, Query(loose).order_by("-either")) == [kept[1], kept[0], kept[2]]
    assert await rows(store, Query(loose).where(gt("number", 2**53))) == kept[1:2]
    with pytest.raises(ConflictError):
        await store.transact(lambda tx: tx.put(loose, Loose(id="d", either="1")))
    assert await store.verify() == []
    await store.close()


@pytest.mark.anyio
async def test_the_durability_is_what_the_server_is_set_to(url: str) -> None:
    """A receipt must not promise the disk where commits are answered before they are on it."""
    sure = await opened(url)
    hasty = await opened(f"{url}&options=-c%20synchronous_commit%3Doff")
    assert (sure.capabilities.durability, hasty.capabilities.durability) == ("disk", "memory")
    reader = await opened(f"{url}&options=-c%20default_transaction_read_only%3Don")
    assert not reader.capabilities.is_writable
    await fill(sure, [part("a")])
    assert await ids(reader) == ["a"]
    with pytest.raises(AtlasError) as refused:
        await fill(reader, [part("b")])
    assert refused.value.code == "STORE_READ_ONLY"
    for store in (sure, hasty, reader):
        await store.close()


@pytest.mark.anyio
async def test_another_schema_than_its_own_is_not_touched(postgres: Server, url: str) -> None:
    """What a newer Atlas made, or somebody altered, is refused by name; nothing is mended behind anybody's back."""
    await (await opened(url)).close()
    name = name_of(url)
    postgres.run(f"DROP INDEX {name}.parts__by_parent")
    postgres.run(f"ALTER TABLE {name}.parts ALTER COLUMN size TYPE integer")
    with pytest.raises(StoreFormatError) as altered:
        await opened(url)
    assert altered.value.details["differences"] == [
        "parts.size is integer, not bigint",
        "the index parts__by_parent is missing",
    ]
    postgres.run(f"UPDATE {name}.meta SET schema = 99")
    with pytest.raises(StoreNewerError):
        await opened(url)


@pytest.mark.anyio
async def test_a_store_that_becomes_newer_while_it_is_open_is_left_alone(postgres: Server, url: str) -> None:
    """A colleague's upgrade must not be written over by who has not upgraded."""
    store = await opened(url)
    await fill(store, [part("a")])
    postgres.run(f"UPDATE {name_of(url)}.meta SET schema = 99")
    with pytest.raises(StoreNewerError):
        await fill(store, [part("b")])
    await store.close()


@pytest.mark.anyio
async def test_verify_finds_what_was_changed_behind_the_store(postgres: Server, url: str) -> None:
    """Anyone with a SQL prompt can do it."""
    store, name = await opened(url), name_of(url)
    await fill(store, [part("a", tags=("red",), name="word"), part("b", size=1)])
    postgres.run(f"DELETE FROM {name}.parts__tags")
    postgres.run(f"UPDATE {name}.parts SET size = 7 WHERE key = 'b'")
    postgres.run(f"INSERT INTO {name}.parts__text VALUES ('word', 'gone')")
    assert await store.verify() == [
        "parts a is not found by what its lists and texts hold",
        "the columns of parts b differ from its record",
        "1 lines of parts__text belong to no record",
    ]
    await store.close()


@pytest.mark.anyio
async def test_a_caller_may_wait_for_ever(url: str) -> None:
    """The server counts milliseconds in 31 bits; that is not the caller's concern."""
    store = await opened(url)
    assert (await store.transact(lambda tx: tx.count(Query(PARTS)), timeout=timedelta(days=365))).value == 0
    await store.close()


@pytest.mark.anyio
async def test_the_tables_can_be_read_at_a_prompt(postgres: Server, url: str) -> None:
    """Columns have their own types, and sort as the store does."""
    store = await opened(url)
    await fill(store, [part("b", size=2, weight=0.5, is_open=True), part("B"), part("é", size=-1)])
    found = postgres.run(f"SELECT key, size, weight, is_open FROM {name_of(url)}.parts ORDER BY key")
    assert found == [("B", None, None, 0), ("b", 2, 0.5, 1), ("é", -1, None, 0)]
    await store.close()


@pytest.mark.anyio
async def test_subscribers_behind_a_pooler_are_told_by_looking(url: str) -> None:
    """Poolers that share connections between transactions pass no notices on."""
    store, other = await opened(f"{url}&feed=poll"), await opened(url)
    told: list[int] = []
    stop = store.subscribe(told.append)
    await marks(other, "a")
    async with asyncio.timeout(5):
        while 1 not in told:  # noqa: ASYNC110 - the other process sets no event
            await asyncio.sleep(0.01)
    stop()
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_a_store_leaves_no_connection_behind(postgres: Server, url: str) -> None:
    """Servers allow only so many."""
    look = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    store = await opened(f"{url}&application_name=leaving&readers=3")
    stop = store.subscribe(lambda _: None)
    await asyncio.gather(*(ids(store) for _ in range(20)))
    pool = (await store.statistics())["pool"]
    assert 1 <= pool["total"] == pool["active"] + pool["idle"] <= 3
    assert pool["waiting"] == 0
    await store.close()
    stop()
    async with asyncio.timeout(5):
        while postgres.run(look, "leaving") != [(0,)]:  # noqa: ASYNC110 - nor does the server
            await asyncio.sleep(0.01)
    assert postgres.run(f"SELECT count(*) FROM {name_of(url)}.writer") == [(0,)]


@pytest.mark.anyio
async def test_a_server_that_knows_no_such_user_says_so(postgres: Server, url: str) -> None:
    """What the server said is what helps."""
    with pytest.raises(AtlasError, match="nobody_known"):
        await opened(url.replace("postgres:@", "nobody_known:@"))
    with pytest.raises(AtlasError, match="no_database"):
        await opened(url.replace("/postgres?", "/no_database?"))


@pytest.mark.anyio
@pytest.mark.parametrize("before", range(4))
async def test_a_refusal_leaves_the_next_commit_alone(url: str, before: int) -> None:
    """What was sent behind it is not done; a statement that was to be prepared there must not be taken for prepared."""
    store = await opened(url)
    await fill(store, [part("a", path="taken"), part("b", path="b")])
    for number in range(before):
        await fill(store, [part("b", path="b", size=number)])
    for number in range(12):
        with pytest.raises(ConflictError):
            await store.transact(lambda tx: tx.put(PARTS, part("b", path="taken"), expected_version=1))
        await fill(store, [part("d", path="d", size=number)])
    assert await ids(store) == ["a", "b", "d"]
    await store.close()
