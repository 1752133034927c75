-- Runs that the clock starts: each tick has one row, taken once, whatever number of supervisors look at the clock.
-- deploy: before

CREATE TABLE schedules (
  env text NOT NULL,
  id text COLLATE "C" NOT NULL,
  workflow text NOT NULL,
  version bigint,
  input bytea NOT NULL,
  cron text,
  every_ms bigint,
  anchor timestamptz,
  timezone text NOT NULL,
  jitter_ms bigint NOT NULL,
  catch_up text NOT NULL,
  catch_up_max bigint NOT NULL,
  grace_ms bigint NOT NULL,
  overlap text NOT NULL,
  tags text[] NOT NULL,
  starts_at timestamptz,
  ends_at timestamptz,
  by text,
  note text NOT NULL,
  is_paused boolean NOT NULL,
  pause_by text,
  pause_note text NOT NULL DEFAULT '',
  next_tick timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CONSTRAINT schedules_pkey PRIMARY KEY (env, id),
  CONSTRAINT schedules_times_given CHECK ((cron IS NULL) <> (every_ms IS NULL)),
  CONSTRAINT schedules_catch_up_known CHECK (catch_up IN ('skip', 'one', 'all')),
  CONSTRAINT schedules_overlap_known CHECK (
    overlap IN ('allow', 'skip', 'buffer_one', 'buffer_all', 'cancel_previous'))
);
CREATE INDEX schedules_next_idx ON schedules (env, next_tick) WHERE NOT is_paused AND next_tick IS NOT NULL;
COMMENT ON TABLE schedules IS 'Workflows that are started again and again, by cron or at intervals.';
COMMENT ON COLUMN schedules.env IS 'environment name';
COMMENT ON COLUMN schedules.id IS 'schedule id, unique in its environment';
COMMENT ON COLUMN schedules.workflow IS 'workflow id that is started';
COMMENT ON COLUMN schedules.version IS 'workflow version, from 1; NULL for the latest at each tick';
COMMENT ON COLUMN schedules.input IS 'input of the runs, canonical JSON bytes; strings may be templates';
COMMENT ON COLUMN schedules.cron IS 'cron expression; NULL where every_ms is given';
COMMENT ON COLUMN schedules.every_ms IS 'interval in milliseconds, whole seconds; NULL where cron is given';
COMMENT ON COLUMN schedules.anchor IS 'time that the interval is counted from, UTC; NULL for 1970-01-01T00:00Z';
COMMENT ON COLUMN schedules.timezone IS 'IANA name of the time zone that cron is read in';
COMMENT ON COLUMN schedules.jitter_ms IS 'a tick is started up to so many milliseconds after its time';
COMMENT ON COLUMN schedules.catch_up IS 'what is started of late ticks: skip, one or all';
COMMENT ON COLUMN schedules.catch_up_max IS 'at most so many late ticks are started under the rule all';
COMMENT ON COLUMN schedules.grace_ms IS 'ticks up to so many milliseconds late are in time';
COMMENT ON COLUMN schedules.overlap IS 'rule while an earlier run goes on: allow, skip, buffer_one, buffer_all or cancel_previous';
COMMENT ON COLUMN schedules.tags IS 'words to find the runs by';
COMMENT ON COLUMN schedules.starts_at IS 'no tick before this time, UTC';
COMMENT ON COLUMN schedules.ends_at IS 'no tick after this time, UTC';
COMMENT ON COLUMN schedules.by IS 'who made it, or changed it last; NULL where unknown';
COMMENT ON COLUMN schedules.note IS 'text for people; may be empty';
COMMENT ON COLUMN schedules.is_paused IS 'nothing is started by the clock';
COMMENT ON COLUMN schedules.pause_by IS 'who paused it; NULL where unknown, or where it is not paused';
COMMENT ON COLUMN schedules.pause_note IS 'why it is paused; may be empty';
COMMENT ON COLUMN schedules.next_tick IS 'first tick that has no row yet, UTC; NULL where none comes any more';
COMMENT ON COLUMN schedules.created_at IS 'when it was made, UTC';
COMMENT ON COLUMN schedules.updated_at IS 'last change by a person, UTC';

CREATE TABLE schedule_ticks (
  env text NOT NULL,
  schedule text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  origin text NOT NULL,
  overlap text NOT NULL,
  due_at timestamptz NOT NULL,
  state text NOT NULL,
  reason text,
  run_id text COLLATE "C",
  by text,
  is_cancelled boolean NOT NULL DEFAULT false,
  updated_at timestamptz NOT NULL,
  CONSTRAINT schedule_ticks_pkey PRIMARY KEY (env, schedule, at),
  CONSTRAINT schedule_ticks_schedule_fkey FOREIGN KEY (env, schedule) REFERENCES schedules (env, id) ON DELETE CASCADE,
  CONSTRAINT schedule_ticks_origin_known CHECK (origin IN ('schedule', 'backfill', 'trigger')),
  CONSTRAINT schedule_ticks_state_known CHECK (
    state IN ('waiting', 'starting', 'started', 'ended', 'skipped', 'failed')),
  CONSTRAINT schedule_ticks_run_given CHECK (run_id IS NOT NULL OR state NOT IN ('starting', 'started', 'ended'))
);
CREATE INDEX schedule_ticks_waiting_idx ON schedule_ticks (env, schedule, (origin = 'backfill'), due_at, at)
 WHERE state = 'waiting';
CREATE INDEX schedule_ticks_running_idx ON schedule_ticks (env, schedule, at) WHERE state IN ('starting', 'started');
CREATE INDEX schedule_ticks_updated_idx ON schedule_ticks (env, updated_at);
COMMENT ON TABLE schedule_ticks IS 'Times of schedules, and what became of them; a tick starts one run at most. Old rows are deleted.';
COMMENT ON COLUMN schedule_ticks.env IS 'environment name';
COMMENT ON COLUMN schedule_ticks.schedule IS 'schedule id';
COMMENT ON COLUMN schedule_ticks.at IS 'the tick, UTC: whole seconds, but never so for a trigger';
COMMENT ON COLUMN schedule_ticks.origin IS 'who asked for it: schedule (the clock), backfill or trigger';
COMMENT ON COLUMN schedule_ticks.overlap IS 'rule of this tick while an earlier run goes on';
COMMENT ON COLUMN schedule_ticks.due_at IS 'when it may be started, UTC: the tick with its jitter';
COMMENT ON COLUMN schedule_ticks.state IS 'waiting, starting, started, ended (its run), skipped or failed';
COMMENT ON COLUMN schedule_ticks.reason IS 'why it was skipped or failed';
COMMENT ON COLUMN schedule_ticks.run_id IS 'run that it starts, made from schedule and tick; NULL before that is decided';
COMMENT ON COLUMN schedule_ticks.by IS 'who asked for a backfill or a trigger; NULL where unknown';
COMMENT ON COLUMN schedule_ticks.is_cancelled IS 'its run was told to end, because a later tick has come';
COMMENT ON COLUMN schedule_ticks.updated_at IS 'last change of state, UTC, by the clock of Redis';
