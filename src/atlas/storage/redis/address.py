"""Where a Redis store is: its URL taken apart, and the URL that may be shown."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from ...errors import ConfigError

_HINT = "Use redis://user:password@host:6379/0?prefix=atlas, rediss://… or unix:///path/to/redis.sock?db=0."
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,100}\Z")
_OPTIONS = {
    "redis": {"prefix", "readers", "tls"},
    "rediss": {"prefix", "readers", "ca"},
    "unix": {"prefix", "readers", "db"},
}
READERS = 4
MOST_READERS = 64


class Address(msgspec.Struct, frozen=True):
    """How a server is reached. `url` is without the password, `arguments` are those of the driver's connection."""

    url: str
    prefix: str
    kind: str
    readers: int
    arguments: dict[str, Any]

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @property
    def is_near(self) -> bool:
        """Whether it is on this machine, where an answer takes no longer than a disk."""
        return self.kind == "unix" or _is_loopback(self.arguments["host"])


def parse_url(url: str) -> Address:
    """Return the address that a URL names; raises ConfigError, which never shows a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Its text may be a part of the password.
        raise _wrong("the store URL cannot be read", url) from None
    kind = parts.scheme
    if kind not in _OPTIONS:
        raise _wrong(f"no Redis is reached by {kind!r}", url)
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(options) - _OPTIONS[kind])
    if unknown:
        raise _wrong(f"the store URL has no option {unknown[0]!r}", url, bound=sorted(_OPTIONS[kind]))
    prefix = options.get("prefix", "atlas")
    if not _PREFIX.match(prefix):
        raise _wrong("the prefix is letters, digits, '-', '_', '.' and ':'", url, bound="1 to 100 characters")
    named = options.get("db", "0") if kind == "unix" else parts.path.strip("/") or "0"
    if not named.isascii() or not named.isdigit():
        raise _wrong("the database is a number", url)
    readers = options.get("readers", str(READERS))
    if not readers.isascii() or not readers.isdigit() or not 1 <= int(readers) <= MOST_READERS:
        raise _wrong("readers is the number of connections for reads", url, bound=f"1 to {MOST_READERS}")
    arguments: dict[str, Any] = {"db": int(named)}
    if parts.username:
        arguments["username"] = unquote(parts.username)
    if parts.password:
        arguments["password"] = unquote(parts.password)
    if kind == "unix":
        arguments["path"] = unquote(parts.path)
        place = f"{parts.path}?db={named}&"
        if not parts.path.startswith("/"):
            raise _wrong("the store URL names no socket", url)
    else:
        host = parts.hostname or "localhost"
        arguments |= {"host": host, "port": port or 6379}
        _check_tls(kind, host, options, url)
        if "ca" in options:
            arguments["ssl_ca_certs"] = _authority(options["ca"], url)
        place = f"{f'[{host}]' if ':' in host else host}:{port or 6379}/{named}?"
    user = "" if not (parts.username or parts.password) else _user(parts.username, parts.password)
    return Address(f"{kind}://{user}{place}prefix={quote(prefix)}", prefix, kind, int(readers), arguments)


def _authority(path: str, url: str) -> str:
    if not Path(path).is_file():
        raise _wrong(f"there is no file {path}", url, hint="The option ca names the certificate of an authority.")
    return path


def _user(name: str | None, password: str | None) -> str:
    return f"{name or ''}{':***' if password else ''}@"


def _check_tls(kind: str, host: str, options: dict[str, str], url: str) -> None:
    if options.get("tls", "off") != "off":
        raise _wrong("the option tls can only be 'off'", url, hint="rediss:// asks for TLS.")
    if kind == "redis" and "tls" not in options and not _is_loopback(host):
        raise _wrong(
            f"{host} is not this machine, and redis:// is not encrypted",
            url,
            hint="Use rediss://, or say tls=off where the network itself is trusted.",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(text: str, url: str, *, hint: str = _HINT, bound: Any = None) -> ConfigError:
    shown = re.sub(r":.*@", "://***@", url, flags=re.DOTALL)
    return ConfigError(text, field="store", given=shown, bound=bound, hint=hint)
