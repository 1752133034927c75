-- What steps say while they are under way can be read when they are over. It is no part of the log of events.
-- deploy: before

CREATE TABLE step_logs (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  source bigint NOT NULL,
  number integer NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  node text NOT NULL,
  scope text NOT NULL,
  attempt integer NOT NULL,
  worker text NOT NULL,
  level text NOT NULL,
  text text NOT NULL,
  fields text NOT NULL,
  CONSTRAINT step_logs_pkey PRIMARY KEY (env, run_id, at, source, number)
);
CREATE INDEX step_logs_id_idx ON step_logs (env, run_id, id);
CREATE INDEX step_logs_at_idx ON step_logs USING brin (at);
COMMENT ON TABLE step_logs IS 'What attempts of steps have said, line by line. Hints for people: lines may be missing, and nothing follows from them.';
COMMENT ON COLUMN step_logs.env IS 'environment name';
COMMENT ON COLUMN step_logs.run_id IS 'run';
COMMENT ON COLUMN step_logs.at IS 'when it was said, UTC, whole milliseconds';
COMMENT ON COLUMN step_logs.source IS 'random number of the log of one attempt on one worker';
COMMENT ON COLUMN step_logs.number IS 'place of the line in that log, from 1; a gap: lines were lost';
COMMENT ON COLUMN step_logs.id IS 'order in which lines of a run were stored';
COMMENT ON COLUMN step_logs.node IS 'node id';
COMMENT ON COLUMN step_logs.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN step_logs.attempt IS 'number of the attempt, from 1';
COMMENT ON COLUMN step_logs.worker IS 'who said it';
COMMENT ON COLUMN step_logs.level IS 'debug, info, warning, error or critical';
COMMENT ON COLUMN step_logs.text IS 'the line, at most 8 KiB; encrypted where payloads are';
COMMENT ON COLUMN step_logs.fields IS 'JSON object of what belongs to it, at most 8 KiB; empty where nothing does; encrypted where payloads are';
