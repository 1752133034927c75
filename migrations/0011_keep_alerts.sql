-- What is wrong now and only a person can change: shown by status and health, kept as long as it lasts.
-- deploy: before

CREATE TABLE alerts (
  env text NOT NULL,
  kind text NOT NULL,
  subject text NOT NULL,
  message text NOT NULL,
  since timestamptz NOT NULL,
  raised_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT alerts_pkey PRIMARY KEY (env, kind, subject)
);
COMMENT ON TABLE alerts IS 'What is wrong now; a row goes when it is over.';
COMMENT ON COLUMN alerts.env IS 'environment name';
COMMENT ON COLUMN alerts.kind IS 'run.stuck or redis.unsafe';
COMMENT ON COLUMN alerts.subject IS 'what it is about: a run, or the code of a problem';
COMMENT ON COLUMN alerts.message IS 'a sentence for people';
COMMENT ON COLUMN alerts.since IS 'since when it is so, as far as that is known, UTC';
COMMENT ON COLUMN alerts.raised_at IS 'when it was noticed, UTC';
