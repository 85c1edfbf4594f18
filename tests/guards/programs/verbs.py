"""A user's program over most verbs, with lists, dicts and texts where Atlas keeps tuples, records and enumerations."""

from __future__ import annotations

import asyncio
import sys

import atlas


async def main(url: str) -> None:
    async with atlas.open(url, actor="mira") as a:
        await a.tasks.create(
            "shop",
            type="MILESTONE",
            priority="high",
            due_at="2026-12-31T17:00:00Z",
            tags=["backend"],
            requires=["python"],
            acceptance=["It is open.", {"text": "It has a door.", "done": True}],
            notes=["Begun."],
            metadata={"build": {"id": 7}},
        )
        await a.tasks.create("shop/api", priority=atlas.Priority.CRITICAL)
        await a.tasks.create("shop/page", dependencies=["shop/api"], fields=["path", "status"])
        await a.tasks.update("shop/api", {"status": "IN_PROGRESS"}, expected_version=1)
        status = {"status": atlas.Status.COMPLETED, "add_tags": ["done"]}
        written = await a.tasks.update("shop/api", status)
        operations = [{"op": "create", "path": f"shop/docs-{number}"} for number in range(3)]
        await a.tasks.bulk(operations, fields=["path"])
        await a.tasks.bulk([{"op": "update", "path": "shop/page", "updates": {"add_dependencies": ["shop/docs-1"]}}])
        await a.tasks.move("shop/docs-2", "shop/pictures", before="shop/api")
        await a.tasks.delete("shop/docs-0", dependents="detach")
        read = await a.tasks.get("shop/page", fields=["status", "block"])
        page = await a.lists.by_path("shop/**", text="api", order_by="-created_at", limit=10)
        ready = await a.lists.next(limit=5)
        told = await a.timeline.read("shop/page", since=0, limit=5)
        await a.upkeep.repair(dry_run=False)
        copy = await a.plans.export("shop/**", format="markdown")
        print(written.affected, written.receipt.durability)
        print(read.task["status"], page.total, ready.tasks[0]["path"], len(told.events), copy.tasks)


asyncio.run(main(*sys.argv[1:]))
