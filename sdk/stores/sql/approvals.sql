-- name: list_approvals
SELECT run_id, workflow, version, ir_hash, node, scope, asked_at, expires_at, escalated_at
  FROM pending_approvals
 WHERE env = $1 AND ($2::text IS NULL OR workflow = $2) AND ($3::text IS NULL OR run_id = $3)
 ORDER BY asked_at, run_id, node, scope
 LIMIT $4
