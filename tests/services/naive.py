"""The rules of work once more, as plainly as can be: dicts, and everything recomputed after each change."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

FINISHED = {"COMPLETED", "CANCELLED"}
CLOSED = {"COMPLETED", "FAILED", "CANCELLED"}
HOLDS = {"MILESTONE": {"GROUP", "TASK"}, "GROUP": {"GROUP", "TASK"}, "TASK": set()}
RANK = {"critical": 0, "high": 1, "medium": 2, "low": 3}

# RULES, statuses: y yes, f when free, n no, = no change.
STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "BLOCKED", "CANCELLED")
ROWS = {
    "PENDING": "=ffyyy",
    "IN_PROGRESS": "y=fyyy",
    "BLOCKED": "yffy=y",
    "COMPLETED": "yn=nnn",
    "FAILED": "ynnnny",
    "CANCELLED": "ynnnn=",
}
LISTS = ("dependencies", "remove_dependencies", "add_dependencies")
TABLE = {start: dict(zip(STATUSES, row, strict=True)) for start, row in ROWS.items()}


class RefusedError(Exception):
    """One of these codes is due."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = set(codes)


def refuse(*faults: tuple[bool, str]) -> None:
    """Raise with every code whose fault is there: faults of one kind may be found in any order."""
    codes = [code for is_there, code in faults if is_there]
    if codes:
        raise RefusedError(*codes)


def above(path: str) -> str | None:
    return path.rpartition("/")[0] or None


def lies_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


class Naive:
    """All tasks by a key of the model's own."""

    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.order: list[int] = []
        self._keys = itertools.count(1)

    def copy(self) -> Naive:
        made = Naive()
        made.tasks, made.order, made._keys = copy.deepcopy(self.tasks), list(self.order), self._keys
        return made

    # Looking.

    def at(self, path: str) -> int | None:
        return next((key for key, task in self.tasks.items() if task["path"] == path), None)

    def children(self, path: str | None) -> list[int]:
        return [key for key in self.order if above(self.tasks[key]["path"]) == path]

    def below(self, path: str) -> list[int]:
        return [k for k, t in self.tasks.items() if t["path"] != path and lies_within(t["path"], path)]

    def is_container(self, key: int) -> bool:
        return bool(self.children(self.tasks[key]["path"]))

    def holders(self, key: int) -> Iterator[int]:
        path = above(self.tasks[key]["path"])
        while path is not None:
            holder = self.at(path)
            assert holder is not None
            yield holder
            path = above(path)

    def status(self, key: int) -> str:
        """DESIGN 5, roll-up, of the direct children."""
        children = self.children(self.tasks[key]["path"])
        if not children:
            return str(self.tasks[key]["status"])
        found = [self.status(child) for child in children]
        if set(found) <= FINISHED:
            return "CANCELLED" if set(found) == {"CANCELLED"} else "COMPLETED"
        if "FAILED" in found:
            return "FAILED"
        if "IN_PROGRESS" in found or set(found) & FINISHED:
            return "IN_PROGRESS"
        return "BLOCKED" if set(found) == {"BLOCKED"} else "PENDING"

    def waiting(self, key: int) -> list[int]:
        wanted = dict.fromkeys(d for k in (key, *self.holders(key)) for d in self.tasks[k]["dependencies"])
        return [d for d in wanted if self.status(d) not in FINISHED]

    def is_hidden(self, key: int) -> bool:
        return any(self.tasks[k]["archived"] for k in (key, *self.holders(key)))

    def waits_for(self, key: int) -> set[int]:
        found = {d for k in (key, *self.holders(key)) for d in self.tasks[k]["dependencies"]}
        return found | set(self.children(self.tasks[key]["path"]))

    def has_circle(self) -> bool:
        """Take away what waits for nothing until nothing can be taken away."""
        left = {key: self.waits_for(key) for key in self.tasks}
        while True:
            free = {key for key, waits in left.items() if not waits & left.keys()}
            if not free:
                return bool(left)
            left = {key: waits for key, waits in left.items() if key not in free}

    def ready(self) -> list[str]:
        """RULES, ready work: the paths in their order."""
        found = [
            key
            for key, task in self.tasks.items()
            if task["type"] == "TASK" and task["status"] == "PENDING" and not self.is_hidden(key)
        ]
        ranked = sorted(found, key=lambda key: (RANK[self.tasks[key]["priority"]], -self.open_dependents(key)))
        return [self.tasks[key]["path"] for key in ranked]

    def open_dependents(self, key: int) -> int:
        return sum(
            key in task["dependencies"] and self.status(other) not in FINISHED for other, task in self.tasks.items()
        )

    # Changing.

    def settle(self) -> None:
        for key, task in self.tasks.items():
            if self.is_container(key):
                task["cause"] = None
            elif task["status"] == "PENDING" and self.waiting(key):
                task["status"], task["cause"] = "BLOCKED", "dependency"
            elif task["status"] == "BLOCKED" and task["cause"] == "dependency" and not self.waiting(key):
                task["status"], task["cause"] = "PENDING", None

    def _empty(self, path: str | None) -> None:
        """An emptied container stands for itself again."""
        key = None if path is None else self.at(path)
        if key is not None and not self.is_container(key):
            self.tasks[key].update(status="PENDING", cause=None)

    def _keys_of(self, paths: list[str]) -> list[int]:
        found = [self.at(path) for path in paths]
        refuse((None in found, "TASK_NOT_FOUND"))
        return [key for key in found if key is not None]

    def _place(self, key: int, before: str | None, after: str | None) -> None:
        """Stand at the end of the siblings, or next to one of them."""
        if key in self.order:
            self.order.remove(key)
        mark = before or after
        if mark is None:
            self.order.append(key)
            return
        sibling = self.at(mark)
        assert sibling is not None
        self.order.insert(self.order.index(sibling) + (before is None), key)

    def _faults_of_neighbour(self, path: str, mark: str | None, moving: str = "") -> list[tuple[bool, str]]:
        if mark is None:
            return []
        is_there = self.at(mark) is not None
        return [
            (not is_there, "TASK_NOT_FOUND"),
            (is_there and (mark == moving or above(mark) != above(path)), "INVALID_INPUT"),
        ]

    def create(
        self,
        path: str,
        *,
        type: str = "TASK",  # noqa: A002 - the verb's word
        dependencies: list[str] = [],  # noqa: B006 - never changed
        parents: bool = False,
        before: str | None = None,
        after: str | None = None,
        priority: str = "medium",
    ) -> None:
        holder = above(path)
        missing = holder is not None and self.at(holder) is None
        refuse(
            (self.at(path) is not None, "TASK_DUPLICATE"),
            (missing and not parents, "TASK_PARENT_NOT_FOUND"),
            (any(self.at(d) is None for d in dependencies), "TASK_NOT_FOUND"),
            *([] if missing else self._faults_of_neighbour(path, before or after)),
        )
        if missing:
            assert holder is not None
            self.create(holder, type="GROUP", parents=True)
            refuse(*self._faults_of_neighbour(path, before or after))
        parent = None if holder is None else self.at(holder)
        key = next(self._keys)
        made: dict[str, Any] = {
            "path": path,
            "type": type,
            "status": "PENDING",
            "cause": None,
            "reason": None,
            "dependencies": [],
            "archived": False,
            "priority": priority,
            "version": 1,
        }
        faults = []
        if parent is not None:
            faults = [
                (self.is_hidden(parent), "TASK_ARCHIVED"),
                (type not in HOLDS[self.tasks[parent]["type"]], "TASK_PARENT_TYPE"),
            ]
        self.tasks[key] = made
        self._place(key, before, after)
        made["dependencies"] = [self.at(d) for d in dependencies]
        refuse(*faults, (self.has_circle(), "TASK_CYCLE"))
        self.settle()

    def update(self, path: str, *, expected_version: int | None = None, **updates: Any) -> None:
        key = self._keys_of([path])[0]
        task = self.tasks[key]
        named = [path for name in LISTS for path in updates.get(name, [])]
        refuse((any(self.at(path) is None for path in named), "TASK_NOT_FOUND"))
        refuse((expected_version not in {None, task["version"]}, "CONCURRENT_MODIFICATION"))
        wanted, removed, added = (self._keys_of(updates[n]) if n in updates else None for n in LISTS)
        wanted = [d for d in (task["dependencies"] if wanted is None else wanted) if d not in (removed or [])]
        wanted += [d for d in added or [] if d not in wanted]
        holders_hidden = any(self.is_hidden(holder) for holder in self.holders(key))
        is_return = task["archived"] and updates.get("archived") is False
        refuse((holders_hidden if is_return else self.is_hidden(key), "TASK_ARCHIVED"))
        before = copy.deepcopy(task)
        faults = []
        if "type" in updates:
            task["type"] = updates["type"]
            parent = above(path)
            if parent is not None:
                held = HOLDS[self.tasks[self._keys_of([parent])[0]]["type"]]
                faults.append((task["type"] != before["type"] and task["type"] not in held, "TASK_PARENT_TYPE"))
            inside = {self.tasks[child]["type"] for child in self.children(path)}
            faults.append((not inside <= HOLDS[task["type"]], "TASK_PARENT_TYPE"))
        task["dependencies"] = wanted
        for name in ("archived", "priority"):
            if name in updates:
                task[name] = updates[name]
        faults.append((wanted != before["dependencies"] and self.has_circle(), "TASK_CYCLE"))
        if "status" in updates:
            faults += self._faults_of_status(key, updates["status"])
        refuse(*faults)
        if "status" in updates:
            self._set_status(key, updates["status"])
        if task != before:
            task["version"] += 1
        self.settle()

    def _faults_of_status(self, key: int, status: str) -> list[tuple[bool, str]]:
        if self.is_container(key):
            return [(status not in {"PENDING", "CANCELLED"}, "TASK_STATUS")]
        rule = TABLE[self.tasks[key]["status"]][status]
        return [(rule == "n", "TASK_STATUS"), (rule == "f" and bool(self.waiting(key)), "TASK_DEPENDENCY")]

    def _set_status(self, key: int, status: str) -> None:
        task = self.tasks[key]
        if self.is_container(key):
            for other in self.below(task["path"]):
                leaf = self.tasks[other]
                is_due = leaf["status"] == "CANCELLED" if status == "PENDING" else leaf["status"] not in FINISHED
                if not self.is_container(other) and is_due:
                    leaf.update(status=status, cause=None, version=leaf["version"] + 1)
        elif TABLE[task["status"]][status] != "=":
            task.update(status=status, cause="manual" if status == "BLOCKED" else None)
            if status == "PENDING" and self.waiting(key):
                task.update(status="BLOCKED", cause="dependency")

    def move(
        self,
        path: str,
        to: str,
        *,
        before: str | None = None,
        after: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        key = self._keys_of([path])[0]
        task = self.tasks[key]
        holder = None if above(to) is None else self.at(above(to) or "")
        refuse(
            (to != path and lies_within(to, path), "INVALID_INPUT"),
            (to != path and self.at(to) is not None, "TASK_DUPLICATE"),
            (above(to) is not None and self.at(above(to) or "") is None, "TASK_PARENT_NOT_FOUND"),
            *self._faults_of_neighbour(to, before or after, moving=path),
        )
        refuse((expected_version not in {None, task["version"]}, "CONCURRENT_MODIFICATION"))
        hidden_parent = holder is not None and self.is_hidden(holder)
        refuse((self.is_hidden(key) or hidden_parent, "TASK_ARCHIVED"))
        refuse((holder is not None and task["type"] not in HOLDS[self.tasks[holder]["type"]], "TASK_PARENT_TYPE"))
        deepest = max(self.tasks[other]["path"].count("/") for other in [key, *self.below(path)])
        refuse((to.count("/") + deepest - path.count("/") >= 8, "INVALID_INPUT"))
        if to == path and before is None and after is None:
            return
        old = above(path)
        for other in [key, *self.below(path)]:
            self.tasks[other]["path"] = to + self.tasks[other]["path"][len(path) :]
        if old != above(to) or before is not None or after is not None:
            self._place(key, before, after)
        refuse((self.has_circle(), "TASK_CYCLE"))
        task["version"] += 1
        if old != above(to):
            self._empty(old)
        self.settle()

    def delete(self, path: str, *, dependents: str = "refuse", expected_version: int | None = None) -> None:
        key = self._keys_of([path])[0]
        refuse((expected_version not in {None, self.tasks[key]["version"]}, "CONCURRENT_MODIFICATION"))
        gone = {key, *self.below(path)}
        outside = [k for k, t in self.tasks.items() if k not in gone and set(t["dependencies"]) & gone]
        holders_hidden = any(self.is_hidden(holder) for holder in self.holders(key))
        refuse(
            (holders_hidden, "TASK_ARCHIVED"),
            (bool(outside) and dependents == "refuse", "TASK_DEPENDENCY"),
        )
        for other in outside:
            task = self.tasks[other]
            task["dependencies"] = [d for d in task["dependencies"] if d not in gone]
            task["version"] += 1
        self.tasks = {k: t for k, t in self.tasks.items() if k not in gone}
        self.order = [k for k in self.order if k not in gone]
        self._empty(above(path))
        self.settle()
