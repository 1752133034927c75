-- What people ask about runs is answered without reading their history; every row can be made again from the log.
-- deploy: before

CREATE TABLE runs (
  run_id text COLLATE "C" NOT NULL,
  env text NOT NULL,
  partition bigint NOT NULL,
  workflow text NOT NULL,
  version bigint NOT NULL,
  ir_hash text NOT NULL,
  status text NOT NULL,
  trigger text NOT NULL,
  base_run_id text COLLATE "C",
  by text,
  tags text[] NOT NULL,
  input_digest text,
  output_seq bigint,
  error jsonb,
  drain_reason text,
  is_halted boolean NOT NULL,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz NOT NULL,
  last_seq bigint,
  last_hash bytea,
  CONSTRAINT runs_pkey PRIMARY KEY (run_id),
  CONSTRAINT runs_status_known CHECK (
    status IN ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT')),
  CONSTRAINT runs_finished_when_final CHECK ((finished_at IS NULL) = (status IN ('PENDING', 'RUNNING', 'PAUSED')))
);
-- Most runs are COMPLETED and most lists are short: those are found by time alone, the others by status.
CREATE INDEX runs_env_created_idx ON runs (env, created_at DESC, run_id DESC);
CREATE INDEX runs_env_workflow_idx ON runs (env, workflow, created_at DESC, run_id DESC);
CREATE INDEX runs_env_status_idx ON runs (env, status, created_at DESC, run_id DESC) WHERE status <> 'COMPLETED';
CREATE INDEX runs_tags_idx ON runs USING gin (tags) WHERE tags <> '{}';
COMMENT ON TABLE runs IS 'Projection of the log: one row per recorded run.';
COMMENT ON COLUMN runs.run_id IS 'run';
COMMENT ON COLUMN runs.env IS 'environment name';
COMMENT ON COLUMN runs.partition IS 'partition, from 0';
COMMENT ON COLUMN runs.workflow IS 'workflow id; empty where run.started could not be read';
COMMENT ON COLUMN runs.version IS 'workflow version, from 1; 0 where run.started could not be read';
COMMENT ON COLUMN runs.ir_hash IS 'IR that the run executes';
COMMENT ON COLUMN runs.status IS 'PENDING (held until a time), RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED or TIMED_OUT';
COMMENT ON COLUMN runs.trigger IS 'why it was started: initial, update, retry, rerun, fork, schedule, child ...';
COMMENT ON COLUMN runs.base_run_id IS 'run that it continues, repeats or forks';
COMMENT ON COLUMN runs.by IS 'who started it; NULL where unknown';
COMMENT ON COLUMN runs.tags IS 'words to find it by';
COMMENT ON COLUMN runs.input_digest IS 'BLAKE2b of the input, 16 bytes as hex';
COMMENT ON COLUMN runs.output_seq IS 'event whose payload is the output';
COMMENT ON COLUMN runs.error IS 'why it failed, or why it was halted';
COMMENT ON COLUMN runs.drain_reason IS 'why its tokens are being removed; NULL where they are not';
COMMENT ON COLUMN runs.is_halted IS 'stopped for repair: corrupt, or one of its events was quarantined';
COMMENT ON COLUMN runs.created_at IS 'acceptance of the start, UTC';
COMMENT ON COLUMN runs.started_at IS 'when its first tokens were emitted, UTC; NULL before';
COMMENT ON COLUMN runs.finished_at IS 'final event, UTC; NULL before';
COMMENT ON COLUMN runs.updated_at IS 'last event that changed this row, UTC';
COMMENT ON COLUMN runs.last_seq IS 'number of the final event; NULL before it';
COMMENT ON COLUMN runs.last_hash IS 'hash of the final event, 32 bytes: shows a log that was cut; NULL before it';

CREATE TABLE node_executions (
  run_id text COLLATE "C" NOT NULL,
  env text NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  status text NOT NULL,
  reason text,
  worker text,
  started_at timestamptz,
  finished_at timestamptz,
  due_at timestamptz,
  updated_at timestamptz NOT NULL,
  ms bigint,
  error jsonb,
  output_seq bigint,
  CONSTRAINT node_executions_pkey PRIMARY KEY (run_id, node, scope, attempt),
  CONSTRAINT node_executions_status_known CHECK (
    status IN ('RUNNING', 'WAITING', 'RETRYING', 'SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED'))
);
CREATE INDEX node_executions_open_idx ON node_executions (status, run_id)
  WHERE status IN ('RUNNING', 'WAITING', 'RETRYING');
CREATE INDEX node_executions_open_run_idx ON node_executions (run_id) WHERE status IN ('RUNNING', 'WAITING', 'RETRYING');
CREATE INDEX node_executions_heartbeat_idx ON node_executions (updated_at) WHERE status = 'RUNNING';
COMMENT ON TABLE node_executions IS 'Projection of the log: one row per attempt of a node in a scope.';
COMMENT ON COLUMN node_executions.run_id IS 'run';
COMMENT ON COLUMN node_executions.env IS 'environment name';
COMMENT ON COLUMN node_executions.node IS 'node id';
COMMENT ON COLUMN node_executions.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN node_executions.attempt IS 'try, from 1; 0 where nothing was tried';
COMMENT ON COLUMN node_executions.status IS 'RUNNING, WAITING, RETRYING, SUCCEEDED, FAILED, SKIPPED or CANCELLED';
COMMENT ON COLUMN node_executions.reason IS 'why it waits, was skipped, failed or was cancelled';
COMMENT ON COLUMN node_executions.worker IS 'consumer that worked on it';
COMMENT ON COLUMN node_executions.started_at IS 'begin of the attempt, UTC';
COMMENT ON COLUMN node_executions.finished_at IS 'end of the attempt, UTC; NULL before';
COMMENT ON COLUMN node_executions.due_at IS 'when a wait or a backoff ends, UTC; NULL where nothing does by itself';
COMMENT ON COLUMN node_executions.updated_at IS 'last event of the attempt, UTC';
COMMENT ON COLUMN node_executions.ms IS 'duration of the handler in milliseconds';
COMMENT ON COLUMN node_executions.error IS 'why the attempt failed';
COMMENT ON COLUMN node_executions.output_seq IS 'event whose payload is the output';

-- Projections cascade, the log never does. A trigger instead of a foreign key: appending pays nothing for it.
CREATE FUNCTION drop_executions_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM node_executions USING gone WHERE node_executions.run_id = gone.run_id;
  RETURN NULL;
END $$;
CREATE TRIGGER runs_cascade AFTER DELETE ON runs REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION drop_executions_of_runs();

CREATE TABLE worker_registry (
  env text NOT NULL,
  consumer text NOT NULL,
  host text NOT NULL,
  pid bigint NOT NULL,
  build text NOT NULL,
  handlers text[] NOT NULL,
  queues text[] NOT NULL,
  started_at timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  stopped_at timestamptz,
  CONSTRAINT worker_registry_pkey PRIMARY KEY (env, consumer)
);
CREATE INDEX worker_registry_seen_idx ON worker_registry (env, last_seen DESC);
COMMENT ON TABLE worker_registry IS 'Workers as they announced themselves, copied from Redis by the supervisor.';
COMMENT ON COLUMN worker_registry.env IS 'environment name';
COMMENT ON COLUMN worker_registry.consumer IS 'consumer name, with a random boot id';
COMMENT ON COLUMN worker_registry.host IS 'host name';
COMMENT ON COLUMN worker_registry.pid IS 'process id on that host';
COMMENT ON COLUMN worker_registry.build IS 'version of the code';
COMMENT ON COLUMN worker_registry.handlers IS 'handlers that it knows';
COMMENT ON COLUMN worker_registry.queues IS 'queues that it reads';
COMMENT ON COLUMN worker_registry.started_at IS 'start of the process, UTC';
COMMENT ON COLUMN worker_registry.last_seen IS 'last announcement, UTC; never goes back';
COMMENT ON COLUMN worker_registry.stopped_at IS 'orderly stop, UTC; NULL before';

CREATE FUNCTION announce_worker(
  env text, consumer text, host text, pid bigint, build text, handlers text[], queues text[],
  started_at timestamptz, last_seen timestamptz, stopped_at timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO worker_registry VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
  ON CONFLICT ON CONSTRAINT worker_registry_pkey DO UPDATE SET
    handlers = excluded.handlers, queues = excluded.queues,
    last_seen = greatest(worker_registry.last_seen, excluded.last_seen),
    stopped_at = coalesce(worker_registry.stopped_at, excluded.stopped_at)
$$;

CREATE TABLE pending_tokens (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  place text NOT NULL,
  due_at timestamptz,
  taken_at timestamptz NOT NULL,
  CONSTRAINT pending_tokens_pkey PRIMARY KEY (run_id, node, scope)
);
COMMENT ON TABLE pending_tokens IS 'Snapshot of the ledgers that someone asked for; Redis holds the truth.';
COMMENT ON COLUMN pending_tokens.env IS 'environment name';
COMMENT ON COLUMN pending_tokens.run_id IS 'run';
COMMENT ON COLUMN pending_tokens.node IS 'node id that the token permits to execute';
COMMENT ON COLUMN pending_tokens.scope IS 'scope of the token';
COMMENT ON COLUMN pending_tokens.attempt IS 'attempt that it permits, from 1';
COMMENT ON COLUMN pending_tokens.place IS 'where it is: queue, worker, timer, parked ...';
COMMENT ON COLUMN pending_tokens.due_at IS 'when it is released by itself, UTC; NULL where it is not';
COMMENT ON COLUMN pending_tokens.taken_at IS 'when the snapshot was taken, UTC';

CREATE TABLE run_counter_snapshots (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  counter bigint NOT NULL,
  tokens bigint NOT NULL,
  taken_at timestamptz NOT NULL,
  CONSTRAINT run_counter_snapshots_pkey PRIMARY KEY (run_id, seq)
);
COMMENT ON TABLE run_counter_snapshots IS 'Snapshots of counters that someone asked for, to audit a recovery.';
COMMENT ON COLUMN run_counter_snapshots.env IS 'environment name';
COMMENT ON COLUMN run_counter_snapshots.run_id IS 'run';
COMMENT ON COLUMN run_counter_snapshots.seq IS 'last event of the run when it was taken';
COMMENT ON COLUMN run_counter_snapshots.counter IS 'number of living tokens by the counter';
COMMENT ON COLUMN run_counter_snapshots.tokens IS 'number of living tokens by the ledger';
COMMENT ON COLUMN run_counter_snapshots.taken_at IS 'when it was taken, UTC';

CREATE TABLE step_cache (
  env text NOT NULL,
  key text NOT NULL,
  scope text NOT NULL,
  node text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  output bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  CONSTRAINT step_cache_pkey PRIMARY KEY (env, key),
  CONSTRAINT step_cache_scope_known CHECK (scope IN ('global', 'run_only'))
);
CREATE INDEX step_cache_expires_idx ON step_cache (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE step_cache IS 'Outputs of steps that may be taken again instead of executing.';
COMMENT ON COLUMN step_cache.env IS 'environment name';
COMMENT ON COLUMN step_cache.key IS 'hash of config and input; of the run as well where the scope is run_only';
COMMENT ON COLUMN step_cache.scope IS 'global or run_only';
COMMENT ON COLUMN step_cache.node IS 'node id that made the output';
COMMENT ON COLUMN step_cache.run_id IS 'run that made the output';
COMMENT ON COLUMN step_cache.output IS 'JSON bytes, or a reference @<hex digest>:<bytes> into payloads';
COMMENT ON COLUMN step_cache.created_at IS 'when it was made, UTC';
COMMENT ON COLUMN step_cache.expires_at IS 'not to be used after this time, UTC; NULL for ever';
