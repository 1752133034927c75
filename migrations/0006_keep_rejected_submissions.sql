-- A submission that is refused has no caller who is told: what was wrong with it is kept where people look.
-- deploy: before

CREATE TABLE rejected_submissions (
  env text NOT NULL,
  partition bigint NOT NULL,
  entry_id text NOT NULL,
  code text NOT NULL,
  reason text NOT NULL,
  fields bytea NOT NULL,
  rejected_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT rejected_submissions_pkey PRIMARY KEY (env, partition, entry_id)
);
CREATE INDEX rejected_submissions_time_idx ON rejected_submissions (env, rejected_at);
COMMENT ON TABLE rejected_submissions IS 'Entries of the submit streams that became no run. Rows may be deleted at any time.';
COMMENT ON COLUMN rejected_submissions.env IS 'environment name';
COMMENT ON COLUMN rejected_submissions.partition IS 'partition of the stream, from 0';
COMMENT ON COLUMN rejected_submissions.entry_id IS 'id of the stream entry';
COMMENT ON COLUMN rejected_submissions.code IS 'kind of the refusal, as the client raises it: input_invalid, workflow_not_found ...';
COMMENT ON COLUMN rejected_submissions.reason IS 'what is wrong, with the name of the field';
COMMENT ON COLUMN rejected_submissions.fields IS 'what was handed in, JSON bytes: texts by field, long ones cut';
COMMENT ON COLUMN rejected_submissions.rejected_at IS 'when it was refused, UTC';
