-- name: put_pause
INSERT INTO pauses AS p (env, kind, name, by, reason) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT pauses_pkey DO UPDATE SET
  by = excluded.by, reason = excluded.reason, created_at = excluded.created_at, resumed_at = NULL
 WHERE p.resumed_at IS NOT NULL
RETURNING name

-- name: end_pause
UPDATE pauses SET resumed_at = date_trunc('milliseconds', clock_timestamp())
 WHERE env = $1 AND kind = $2 AND name = $3 AND resumed_at IS NULL
RETURNING name

-- name: forget_pauses
DELETE FROM pauses WHERE env = $1 AND resumed_at < now() - interval '1 minute'

-- name: list_pauses
SELECT kind, name, by, reason, created_at FROM pauses WHERE env = $1 AND resumed_at IS NULL ORDER BY kind, name

-- name: runs_to_pause
SELECT r.run_id, p.name, p.by, p.reason
  FROM pauses p JOIN runs r ON r.env = p.env AND r.workflow = p.name
 WHERE p.env = $1 AND p.kind = 'workflow' AND p.resumed_at IS NULL AND p.name = coalesce($2, p.name)
   AND r.status IN ('PENDING', 'RUNNING') AND r.drain_reason IS NULL AND NOT r.is_halted
   AND NOT EXISTS (SELECT FROM commands c WHERE c.run_id = r.run_id AND c.type IN ('pause', 'resume')
                     AND c.created_at >= p.created_at)
 ORDER BY r.created_at DESC
 LIMIT $3

-- name: runs_to_resume
SELECT r.run_id, p.name, p.by, p.reason
  FROM pauses p JOIN runs r ON r.env = p.env AND r.workflow = p.name
 CROSS JOIN LATERAL (SELECT c.type, c.body FROM commands c WHERE c.run_id = r.run_id AND c.type IN ('pause', 'resume')
                      ORDER BY c.number DESC LIMIT 1) AS last
 WHERE p.env = $1 AND p.kind = 'workflow' AND p.resumed_at IS NOT NULL AND p.name = coalesce($2, p.name)
   AND r.status IN ('PENDING', 'RUNNING', 'PAUSED') AND NOT r.is_halted
   AND last.type = 'pause' AND bytes_to_json(last.body) ->> 'name' = p.name
 ORDER BY r.created_at DESC
 LIMIT $3
