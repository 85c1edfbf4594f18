"""What a PostgreSQL server tells of itself: whether it keeps what it acknowledges, and how full it is."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

_WEAK_COMMITS = {"off": "before they are on any disk", "local": "once they are on this server's disk alone"}


def server_figures(connection: Connection) -> dict[str, Any]:
    """Return what `Store.statistics` tells of the server."""
    found = connection.execute(
        "SELECT current_setting('server_version'), pg_is_in_recovery(),"
        " (SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::int,"
        " current_setting('synchronous_commit'), current_setting('fsync')"
    ).fetchone()
    assert found is not None
    version, is_replica, used, limit, commit, sync = found
    return {
        "version": version,
        "is_replica": is_replica,
        "connections": int(used or 0),
        "connections_limit": limit,
        "persistence": persistence(commit, sync),
    }


def persistence(commit: str, sync: str) -> str:
    """Say in words when a commit is answered."""
    if sync != "on":
        return f"The server does not sync its disk (fsync={sync}): a power cut may lose everything."
    when = _WEAK_COMMITS.get(commit, "once they are on disk")
    return f"Commits are answered {when} (synchronous_commit={commit}, fsync=on)."
