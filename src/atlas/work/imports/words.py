"""What the words, durations and times of foreign plans mean in Atlas."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ...model.task import Priority, Status

STATUSES = {
    Status.PENDING: "pending|open|todo|to do|to-do|not started|not-started|new|ready|planned|backlog|draft|next|queued",
    Status.IN_PROGRESS: "in progress|in-progress|in_progress|doing|started|active|wip|review|in review|ongoing|working",
    Status.COMPLETED: "completed|complete|done|closed|finished|resolved|merged|shipped|yes|x|✓|✔|✅",
    Status.FAILED: "failed|failure|error|broken",
    Status.BLOCKED: "blocked|on hold|on-hold|waiting|deferred|paused|stuck",
    Status.CANCELLED: "cancelled|canceled|dropped|abandoned|skipped|wontfix|won't do|won't fix|wont do|rejected",
}
PRIORITIES = {
    Priority.CRITICAL: "critical|urgent|highest|blocker|p0",
    Priority.HIGH: "high|important|p1",
    Priority.MEDIUM: "medium|normal|moderate|default|mid|med|p2",
    Priority.LOW: "low|minor|lowest|trivial|p3|p4",
}
_STATUS = {word: status for status, words in STATUSES.items() for word in words.split("|")}
_PRIORITY = {word: priority for priority, words in PRIORITIES.items() for word in words.split("|")}
_HOURS = {"m": 1 / 60, "h": 1.0, "d": 8.0, "w": 40.0}
_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*(m|min|mins|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])[\s,]*(?:and\s+)?", re.IGNORECASE
)
_UNTOLD_YEAR = 1
_LONGEST_DURATION = 100


def status_of(word: str) -> Status | None:
    """Return the status a word stands for, None when it stands for none."""
    return _STATUS.get(word.strip().casefold())


def priority_of(word: str) -> Priority | None:
    """Return the priority a word stands for, None when it stands for none."""
    return _PRIORITY.get(word.strip().casefold())


def hours_of(text: str) -> float | None:
    """Return a duration in hours: `2h`, `90m`, `1d 4h`, a bare number; a day has 8 hours, a week 40."""
    text = text.strip().lstrip("~").strip()
    if len(text) > _LONGEST_DURATION:
        return None
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    total, at = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != at:
            return None
        total += float(match[1]) * _HOURS[match[2][0].lower()]
        at = match.end()
    return total if at and at == len(text) else None


def instant_of(value: Any) -> datetime | None:
    """Return an ISO 8601 text as a time in UTC; one without an offset is taken as UTC, a bare date as its midnight.

    None for anything else, and for the year 1, by which some tools say that there is no time.
    """
    if not isinstance(value, str) or len(value) < len("2025-01-01"):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > _UNTOLD_YEAR else None
