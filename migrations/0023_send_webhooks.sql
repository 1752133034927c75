-- Others are told of ends of runs, approvals and alerts: what is to be sent is written with the log, and kept until it was.
-- deploy: before

CREATE TABLE webhooks (
  env text NOT NULL,
  name text NOT NULL,
  url text NOT NULL,
  kinds text[] NOT NULL,
  workflow text,
  secret bytea NOT NULL,
  by text,
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  CONSTRAINT webhooks_pkey PRIMARY KEY (env, name)
);
COMMENT ON TABLE webhooks IS 'Who is told of what, by a request.';
COMMENT ON COLUMN webhooks.env IS 'environment name';
COMMENT ON COLUMN webhooks.name IS 'name of the webhook';
COMMENT ON COLUMN webhooks.url IS 'where the requests go';
COMMENT ON COLUMN webhooks.kinds IS 'run.ended, run.failed, approval.needed, alert';
COMMENT ON COLUMN webhooks.workflow IS 'only of this workflow; NULL: of all';
COMMENT ON COLUMN webhooks.secret IS 'key of the signatures, as payloads are stored';
COMMENT ON COLUMN webhooks.by IS 'who added it';
COMMENT ON COLUMN webhooks.created_at IS 'when it was added, UTC: what happened before is not told';

CREATE TABLE webhook_deliveries (
  env text NOT NULL,
  webhook text NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  body text NOT NULL,
  state text NOT NULL DEFAULT 'due',
  attempts bigint NOT NULL DEFAULT 0,
  error text,
  due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at timestamptz,
  CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (env, webhook, event_id),
  CONSTRAINT webhook_deliveries_state_known CHECK (state IN ('due', 'sent', 'dead'))
);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (env, due_at) WHERE state = 'due';
CREATE INDEX webhook_deliveries_dead_idx ON webhook_deliveries (env, created_at) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_sent_idx ON webhook_deliveries (sent_at) WHERE state = 'sent';
COMMENT ON TABLE webhook_deliveries IS 'What a webhook is told. Sent ones go after a week, dead ones when somebody drops them.';
COMMENT ON COLUMN webhook_deliveries.env IS 'environment name';
COMMENT ON COLUMN webhook_deliveries.webhook IS 'whom it is for';
COMMENT ON COLUMN webhook_deliveries.event_id IS 'the same each time it is sent: <run>:<seq>, alert:<kind>:<subject>:<ms>, test:<random>';
COMMENT ON COLUMN webhook_deliveries.body IS 'the JSON that is sent';
COMMENT ON COLUMN webhook_deliveries.state IS 'due, sent, or dead: given up';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'how often it was sent';
COMMENT ON COLUMN webhook_deliveries.error IS 'what was wrong the last time';
COMMENT ON COLUMN webhook_deliveries.due_at IS 'when it is sent next, UTC; while it is in hand, when another supervisor takes it over';
COMMENT ON COLUMN webhook_deliveries.created_at IS 'when it was written, UTC';
COMMENT ON COLUMN webhook_deliveries.sent_at IS 'when it was taken, UTC';
