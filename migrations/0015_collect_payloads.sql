-- Payloads that nothing refers to are collected, and those of events that do are found without reading all of them.
-- deploy: before

ALTER TABLE payloads ADD COLUMN used_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN payloads.used_at IS 'when it was last stored, referred to anew or found referred to, UTC, to an hour';
CREATE INDEX payloads_used_idx ON payloads (env, used_at);
CREATE INDEX payloads_artifacts_idx ON payloads (env) WHERE position('"$artifact":"'::bytea IN content) > 0;
CREATE INDEX event_payloads_reference_idx ON event_payloads (substring(payload FROM 2 FOR 32))
 WHERE substring(payload FROM 1 FOR 1) = '@'::bytea;
CREATE INDEX event_payloads_artifacts_idx ON event_payloads (env)
 WHERE position('"$artifact":"'::bytea IN payload) > 0;
