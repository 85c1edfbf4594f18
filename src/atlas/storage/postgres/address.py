"""The address of a PostgreSQL store: the driver's part, Atlas's own options, and how it is shown without secrets."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ProgrammingError
from psycopg.pq import Conninfo

from ...errors import ConfigError
from ..sql import quoted

_HINT = "Write postgresql://user@host/database?schema=atlas; docs/backends.md lists the options."
_MASK = "***"
_DEFAULTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "atlas",
}
FEEDS = ("listen", "poll")
MOST_READERS = 64
_LONGEST = 7 * 24 * 3600


class Address(msgspec.Struct, frozen=True):
    """Where a store lies. `connection` has secrets in it and is for the driver alone."""

    url: str
    connection: dict[str, Any]
    schema: str
    readers: int
    lifetime: int
    feed: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @property
    def quoted_schema(self) -> str:
        """The schema's name as SQL."""
        return quoted(self.schema)

    @property
    def turn(self) -> int:
        """The number of the advisory lock that a writer of this schema holds."""
        digest = hashlib.blake2b(f"atlas {self.schema}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    @property
    def channel(self) -> str:
        """The name under which commits are told to other processes."""
        return f"atlas.{self.schema}"[:63]

    def masked(self, text: str) -> str:
        """Return what the driver or the server said, without the secrets of the address."""
        for secret in self.secrets:
            text = text.replace(secret, _MASK)
        return text


def parse_address(url: str) -> Address:
    """Return the parts of a URL; raises ConfigError, which shows no secret."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        secrets = _secrets(parts.netloc, options)
        own = {name: options.pop(name) for name in ("schema", "readers", "lifetime", "feed") if name in options}
        _check_known(options)
        _check_signs(parts.netloc, parts.path)
        connection = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{_query(options)}")
        _check_ports(str(connection.get("port", "")))
    except (ValueError, ProgrammingError):
        # What the parser says may repeat the whole URL.
        raise ConfigError("the PostgreSQL URL cannot be understood", field="store", hint=_HINT) from None
    if not _is_here(connection):
        # A socket of the machine is not affected; a host named by the environment is.
        connection.setdefault("sslmode", "require")
        _check_encryption(str(connection["sslmode"]))
    return Address(
        url=_shown(url),
        connection=_DEFAULTS | connection,
        schema=_schema(own.get("schema", "atlas")),
        readers=_number("readers", own.get("readers", "4"), MOST_READERS),
        lifetime=_number("lifetime", own.get("lifetime", "3600"), _LONGEST),
        feed=_one_of("feed", own.get("feed", FEEDS[0]), FEEDS),
        secrets=secrets,
    )


def _check_signs(place: str, database: str) -> None:
    """Refuse what the driver would part elsewhere, and take the rest of a password for a host or a database."""
    if place.count("@") > 1 or "@" in database:
        raise ConfigError(
            "a PostgreSQL URL has one @, before the host",
            field="store",
            hint="In a user, password or database write %40 for @ and %2F for /.",
        )


def _check_ports(ports: str) -> None:
    for port in ports.split(","):
        if port and not 0 < int(port) < 65_536:
            raise ValueError(port)


def _query(options: dict[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in options.items())


def _is_secret(name: str) -> bool:
    return "password" in name or name == "oauth_client_secret"


def _secrets(place: str, options: dict[str, str]) -> tuple[str, ...]:
    user, at, _ = place.rpartition("@")
    written = [user.partition(":")[2]] if at else []
    written += [value for name, value in options.items() if _is_secret(name)]
    found = {form for text in written for form in (text, unquote(text)) if form}
    return tuple(sorted(found, key=len, reverse=True))


def _shown(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    options = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{key}={_MASK if _is_secret(key) else quote(value, safe='/')}" for key, value in options)
    return f"postgresql://{name}{colon and ':' + _MASK}{at}{host}{parts.path}{query and '?' + query}"


def _is_here(connection: dict[str, Any]) -> bool:
    """Say whether nothing leaves the machine: sockets in the file system and loopback addresses."""
    named = str(connection.get("hostaddr") or connection.get("host") or "")
    return bool(named) and all(map(_is_local, named.split(",")))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.startswith(("/", "@")) or host == "localhost"


def _check_encryption(mode: str) -> None:
    if mode in {"allow", "prefer"}:
        raise ConfigError(
            f"sslmode={mode} goes on unencrypted where the server would have it so",
            field="store",
            given=mode,
            hint="Write sslmode=verify-full, or require; sslmode=disable goes without encryption.",
        )


def _check_known(options: dict[str, str]) -> None:
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name in options:
        if name not in known:
            raise ConfigError(f"a PostgreSQL URL has no option {name!r}", field="store", given=name, hint=_HINT)


def _schema(name: str) -> str:
    if name.startswith("pg_") or name == "information_schema":
        raise ConfigError(f"{name!r} is PostgreSQL's own", field="store", given=name, hint=_HINT)
    quoted(name)
    return name


def checked_readers(number: int) -> int:
    """Return a number of readers that can be; raises ConfigError."""
    return _number("readers", str(number), MOST_READERS)


def _number(name: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise ConfigError(f"{name} is a number from 1 to {most}", field="store", given=text, bound=f"1 to {most}")
    return int(text)


def _one_of(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ConfigError(f"{name} is one of {', '.join(allowed)}", field="store", given=text, bound=list(allowed))
    return text
