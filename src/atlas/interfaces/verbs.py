"""The verb table: every public verb, once, with its name on the wire and who gets to see it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from ..verb import Effect, Spec, spec_of
from ..work.lists import Lists
from ..work.plans import Plans
from ..work.tasks import Tasks
from ..work.timeline import Timeline
from ..work.upkeep import Upkeep

PROFILES = ("core", "standard", "all")


class Verb(msgspec.Struct, frozen=True, dict=True):
    """One row: `service` and `method` find it on an open Atlas, `profile` is the smallest that shows it."""

    name: str
    title: str
    service: str
    method: str
    profile: str

    @cached_property
    def spec(self) -> Spec:
        """Its signature, help and effect."""
        return spec_of(getattr(_SERVICES[self.service], self.method))

    @property
    def effect(self) -> Effect:
        """Whether it reads, writes or destroys."""
        return self.spec.effect

    async def call(self, atlas: Any, arguments: dict[str, Any]) -> Any:
        """Call the verb on an open Atlas with arguments as they came; raises AtlasError."""
        return await getattr(getattr(atlas, self.service), self.method)(**arguments)


_SERVICES: dict[str, type] = {"tasks": Tasks, "lists": Lists, "timeline": Timeline, "upkeep": Upkeep, "plans": Plans}

VERBS = {
    verb.name: verb
    for verb in (
        Verb("create_task", "Create a task", "tasks", "create", "core"),
        Verb("get_task", "Show a task", "tasks", "get", "core"),
        Verb("update_task", "Change a task", "tasks", "update", "core"),
        Verb("move_task", "Move a task", "tasks", "move", "standard"),
        Verb("delete_task", "Delete a task", "tasks", "delete", "core"),
        Verb("get_tasks_by_status", "List by status", "lists", "by_status", "standard"),
        Verb("get_tasks_by_path", "List tasks", "lists", "by_path", "core"),
        Verb("get_subtasks", "List children", "lists", "children", "standard"),
        Verb("next_task", "What to do next", "lists", "next", "core"),
        Verb("wait_for", "Wait for a change", "lists", "wait_for", "standard"),
        Verb("bulk_task_operations", "Change many tasks at once", "tasks", "bulk", "core"),
        Verb("get_timeline", "What happened", "timeline", "read", "core"),
        Verb("get_statistics", "Counts and progress", "upkeep", "statistics", "core"),
        Verb("import_plan", "Import a plan", "plans", "load", "core"),
        Verb("export_plan", "Export tasks", "plans", "export", "all"),
        Verb("repair_relationships", "Find and mend disagreements", "upkeep", "repair", "standard"),
        Verb("vacuum_database", "Give back unused space", "upkeep", "vacuum", "standard"),
        Verb("clear_all_tasks", "Delete everything", "upkeep", "clear", "standard"),
    )
}


def shown_in(profile: str) -> list[Verb]:
    """Return the verbs of a profile; each profile holds the ones before it."""
    return [verb for verb in VERBS.values() if PROFILES.index(verb.profile) <= PROFILES.index(profile)]
