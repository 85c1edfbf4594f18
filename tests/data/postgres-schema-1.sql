-- A store in PostgreSQL as schema 1 made it, for the laws of upgrades. Released: never changed.
CREATE SCHEMA "atlas";
CREATE TABLE "atlas"."meta" ("id" bigint PRIMARY KEY CHECK ("id" = 1), "seq" bigint NOT NULL, "now" text NOT NULL, "schema" bigint NOT NULL);
CREATE TABLE "atlas"."writer" ("id" text PRIMARY KEY, "number" bigint NOT NULL, "at" text NOT NULL);
INSERT INTO "atlas"."meta" VALUES (1, 0, '1970-01-01T00:00:00.000000Z', 1);
CREATE TABLE "atlas"."task" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL,"version" bigint,"created_at" text COLLATE "C","updated_at" text COLLATE "C","path" text COLLATE "C","name" text COLLATE "C","type" text COLLATE "C" CONSTRAINT "task__type_values" CHECK ("type" IN ('TASK', 'GROUP', 'MILESTONE')),"status" text COLLATE "C" CONSTRAINT "task__status_values" CHECK ("status" IN ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'BLOCKED', 'CANCELLED')),"parent" text COLLATE "C","position" double precision,"priority" text COLLATE "C","assignee" text COLLATE "C","due_at" text COLLATE "C","hidden" bigint
);
CREATE UNIQUE INDEX "task__by_path" ON "atlas"."task" ("path" NULLS FIRST);
CREATE INDEX "task__by_parent_position" ON "atlas"."task" ("parent" NULLS FIRST, "position" NULLS FIRST);
CREATE INDEX "task__by_hidden_status_path" ON "atlas"."task" ("hidden" NULLS FIRST, "status" NULLS FIRST, "path" NULLS FIRST);
CREATE INDEX "task__by_assignee" ON "atlas"."task" ("assignee" NULLS FIRST) WHERE "assignee" IS NOT NULL;
CREATE TABLE "atlas"."task__dependencies" ("value" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, PRIMARY KEY (value, "key"));
CREATE INDEX "task__dependencies__by_key" ON "atlas"."task__dependencies" ("key");
CREATE TABLE "atlas"."task__tags" ("value" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, PRIMARY KEY (value, "key"));
CREATE INDEX "task__tags__by_key" ON "atlas"."task__tags" ("key");
CREATE TABLE "atlas"."task__text" ("word" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, PRIMARY KEY (word, "key"));
CREATE INDEX "task__text__by_key" ON "atlas"."task__text" ("key");
CREATE TABLE "atlas"."note" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL,"task" text COLLATE "C","at" text COLLATE "C"
);
CREATE INDEX "note__by_task_at" ON "atlas"."note" ("task" NULLS FIRST, "at" NULLS FIRST);
CREATE TABLE "atlas"."note__text" ("word" text COLLATE "C" NOT NULL, "key" text COLLATE "C" NOT NULL, PRIMARY KEY (word, "key"));
CREATE INDEX "note__text__by_key" ON "atlas"."note__text" ("key");
CREATE TABLE "atlas"."tally" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL
);
CREATE TABLE "atlas"."ready" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL,"path" text COLLATE "C","rank" bigint,"dependents" bigint,"due_at" text COLLATE "C","position" double precision
);
CREATE INDEX "ready__by_rank_dependents_due_at_position_id" ON "atlas"."ready" ("rank" NULLS FIRST, "dependents" DESC NULLS LAST, "due_at" NULLS FIRST, "position" NULLS FIRST, "key");
CREATE INDEX "ready__by_path" ON "atlas"."ready" ("path" NULLS FIRST);
CREATE TABLE "atlas"."origin" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL,"task" text COLLATE "C"
);
CREATE INDEX "origin__by_task" ON "atlas"."origin" ("task" NULLS FIRST);
CREATE TABLE "atlas"."event" (
  "key" bigint PRIMARY KEY,"value" text NOT NULL,"time" text COLLATE "C","type" text COLLATE "C","actor" text COLLATE "C","session" text COLLATE "C","collection" text COLLATE "C","subject" text COLLATE "C","path" text COLLATE "C","correlation" text COLLATE "C"
);
CREATE INDEX "event__by_subject" ON "atlas"."event" ("subject" NULLS FIRST);
CREATE INDEX "event__by_type" ON "atlas"."event" ("type" NULLS FIRST);
CREATE INDEX "event__by_session" ON "atlas"."event" ("session" NULLS FIRST) WHERE "session" IS NOT NULL;
CREATE INDEX "event__by_correlation" ON "atlas"."event" ("correlation" NULLS FIRST) WHERE "correlation" IS NOT NULL;
CREATE TABLE "atlas"."once" (
  "key" text COLLATE "C" PRIMARY KEY,"value" text NOT NULL,"at" text COLLATE "C"
);
CREATE INDEX "once__by_at" ON "atlas"."once" ("at" NULLS FIRST);
ALTER TABLE "atlas"."task" ADD CONSTRAINT "task__parent_refers" FOREIGN KEY ("parent") REFERENCES "atlas"."task" ("key") DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "atlas"."note" ADD CONSTRAINT "note__task_refers" FOREIGN KEY ("task") REFERENCES "atlas"."task" ("key") DEFERRABLE INITIALLY DEFERRED;
