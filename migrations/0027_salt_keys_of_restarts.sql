-- The same wish is one run whatever key encrypts it, and its key tells nobody what was asked for.
-- deploy: before

CREATE TABLE salts (
  env text NOT NULL,
  salt bytea NOT NULL,
  CONSTRAINT salts_pkey PRIMARY KEY (env)
);
COMMENT ON TABLE salts IS 'What the idempotency keys of runs that go on from others are salted with, where inputs or outputs are given.';
COMMENT ON COLUMN salts.env IS 'environment name';
COMMENT ON COLUMN salts.salt IS '32 random bytes in base64, as payloads are stored';
