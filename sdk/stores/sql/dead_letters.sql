-- name: insert_dead_letters
INSERT INTO dead_letters (env, run_id, node, scope, attempt, seq, error, failed_at)
SELECT $1, g.run_id, g.node, g.scope, g.attempt, g.seq, g.error::jsonb, g.failed_at
  FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::timestamptz[])
    AS g (run_id, node, scope, attempt, seq, error, failed_at)
ON CONFLICT ON CONSTRAINT dead_letters_pkey DO NOTHING

-- name: close_dealt_with
UPDATE dead_letters d SET is_open = false
 WHERE d.env = $1
   AND (EXISTS (SELECT FROM dead_letter_drops x WHERE (x.run_id, x.node, x.scope) = (d.run_id, d.node, d.scope))
        OR EXISTS (SELECT FROM commands c WHERE c.base_run_id = d.run_id AND c.base_seq IS NOT NULL AND c.trigger <> 'fork'))

-- name: list_dead_letters
SELECT d.run_id, r.workflow, r.version, r.ir_hash, r.tags, d.node, d.scope, d.attempt, d.seq, d.error::text AS error,
       d.failed_at, x.by AS dropped_by, x.reason AS drop_reason, x.dropped_at, q.run_id AS requeued_as
  FROM dead_letters d
  JOIN runs r USING (run_id)
  LEFT JOIN dead_letter_drops x ON (x.run_id, x.node, x.scope) = (d.run_id, d.node, d.scope)
  LEFT JOIN LATERAL (SELECT c.run_id FROM commands c WHERE c.base_run_id = d.run_id AND c.base_seq IS NOT NULL AND c.trigger <> 'fork'
                      ORDER BY c.created_at DESC, c.run_id DESC LIMIT 1) q ON true

-- name: drop_dead_letters
WITH found AS (
  UPDATE dead_letters d SET is_open = false
    FROM unnest($2::text[], $3::text[], $4::text[]) AS g (run_id, node, scope)
   WHERE d.env = $1 AND (d.run_id, d.node, d.scope) = (g.run_id, g.node, g.scope) AND d.is_open
  RETURNING d.run_id, d.node, d.scope)
INSERT INTO dead_letter_drops (env, run_id, node, scope, by, reason)
SELECT $1, run_id, node, scope, $5, $6 FROM found
ON CONFLICT ON CONSTRAINT dead_letter_drops_pkey DO NOTHING
RETURNING run_id, node, scope

-- name: close_requeued
UPDATE dead_letters SET is_open = false WHERE run_id = $1 AND is_open
