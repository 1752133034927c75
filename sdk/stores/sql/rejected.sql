-- name: insert_rejected
INSERT INTO rejected_submissions (env, partition, entry_id, code, reason, fields)
SELECT $1, $2, g.entry_id, g.code, g.reason, g.fields
  FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[]) AS g (entry_id, code, reason, fields)
ON CONFLICT ON CONSTRAINT rejected_submissions_pkey DO NOTHING

-- name: list_rejected
SELECT partition, entry_id, code, reason, fields, rejected_at FROM rejected_submissions
 WHERE env = $1 ORDER BY rejected_at DESC, partition, entry_id LIMIT $2
