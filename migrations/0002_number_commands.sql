-- What was asked of the engine is durable before Redis hears of it: numbered per run, so that nothing overtakes its start.
-- deploy: before

CREATE TABLE commands (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  type text NOT NULL,
  partition bigint NOT NULL,
  body bytea NOT NULL,
  body_digest bytea NOT NULL,
  by text,
  decides text,
  workflow text,
  version bigint,
  ir_hash text,
  input_digest bytea,
  idempotency_key text,
  tags text[] NOT NULL DEFAULT '{}',
  trigger text,
  start_at timestamptz,
  expires_at timestamptz,
  traceparent text,
  base_run_id text COLLATE "C",
  xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  CONSTRAINT commands_pkey PRIMARY KEY (run_id, number),
  CONSTRAINT commands_number_positive CHECK (number >= 1),
  CONSTRAINT commands_first_is_start CHECK ((number = 1) = (type = 'start')),
  CONSTRAINT commands_start_is_complete CHECK (
    type <> 'start' OR (workflow IS NOT NULL AND version IS NOT NULL AND ir_hash IS NOT NULL
                        AND input_digest IS NOT NULL AND trigger IS NOT NULL))
);
CREATE UNIQUE INDEX commands_decision_key ON commands (run_id, decides) WHERE decides IS NOT NULL;
CREATE INDEX commands_start_xact_idx ON commands (env, partition, xact) WHERE type = 'start';
COMMENT ON TABLE commands IS 'What someone outside asked of the engine. Rows never change.';
COMMENT ON COLUMN commands.env IS 'environment name';
COMMENT ON COLUMN commands.run_id IS 'run that it concerns';
COMMENT ON COLUMN commands.number IS 'number in its run, from 1; a script applies only the next one';
COMMENT ON COLUMN commands.type IS 'start, cancel, approve, reject, signal, pause, resume ...';
COMMENT ON COLUMN commands.partition IS 'partition of the run, from 0';
COMMENT ON COLUMN commands.body IS 'canonical JSON bytes; of a start the input of the run';
COMMENT ON COLUMN commands.body_digest IS 'BLAKE2b of everything that was asked, 16 bytes; tells a repeated command from a conflicting one';
COMMENT ON COLUMN commands.by IS 'who asked; NULL where unknown';
COMMENT ON COLUMN commands.decides IS 'token that it decides, at most once per run and token; NULL where it is no decision';
COMMENT ON COLUMN commands.workflow IS 'start only: workflow id';
COMMENT ON COLUMN commands.version IS 'start only: workflow version, from 1';
COMMENT ON COLUMN commands.ir_hash IS 'start only: IR that the run executes';
COMMENT ON COLUMN commands.input_digest IS 'start only: BLAKE2b of the input, 16 bytes';
COMMENT ON COLUMN commands.idempotency_key IS 'start only: key of the caller, from which the run id is derived';
COMMENT ON COLUMN commands.tags IS 'start only: words to find the run by';
COMMENT ON COLUMN commands.trigger IS 'start only: initial, update, retry, rerun, fork, schedule, child ...';
COMMENT ON COLUMN commands.start_at IS 'start only: not before this time, UTC';
COMMENT ON COLUMN commands.expires_at IS 'start only: not to be started after this time, UTC';
COMMENT ON COLUMN commands.traceparent IS 'start only: W3C trace context of the caller';
COMMENT ON COLUMN commands.base_run_id IS 'start only: run that this one continues, repeats or forks';
COMMENT ON COLUMN commands.xact IS 'transaction that wrote it; lets the reconciler know what is committed';
COMMENT ON COLUMN commands.created_at IS 'acceptance, UTC, whole milliseconds';

CREATE TABLE reconciler_marks (
  env text NOT NULL,
  partition bigint NOT NULL,
  xact xid8 NOT NULL,
  CONSTRAINT reconciler_marks_pkey PRIMARY KEY (env, partition)
);
COMMENT ON TABLE reconciler_marks IS 'How far back the reconciler must look. Losing a row only makes its next pass longer.';
COMMENT ON COLUMN reconciler_marks.env IS 'environment name';
COMMENT ON COLUMN reconciler_marks.partition IS 'partition, from 0';
COMMENT ON COLUMN reconciler_marks.xact IS 'every start of an older transaction has its run.started in the log';
