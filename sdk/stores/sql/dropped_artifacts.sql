-- name: get_mark
SELECT artifacts_until FROM retention_marks WHERE env = $1

-- name: move_mark
INSERT INTO retention_marks AS m (env, artifacts_until) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT retention_marks_pkey DO UPDATE SET artifacts_until = greatest(m.artifacts_until, excluded.artifacts_until)

-- name: window_end
SELECT max(w.finished_at) FROM (
  SELECT finished_at FROM runs
   WHERE env = $1 AND finished_at IS NOT NULL AND finished_at > $2 AND finished_at < $3
   ORDER BY finished_at LIMIT $4) w

-- name: payloads_of_window
SELECT p.payload FROM runs r JOIN event_payloads p ON p.run_id = r.run_id
 WHERE r.env = $1 AND r.finished_at > $2 AND r.finished_at <= $3
   AND (substring(p.payload FROM 1 FOR 1) = '@'::bytea OR position('"$artifact":"'::bytea IN p.payload) > 0)

-- name: young_payloads
SELECT p.payload FROM event_payloads p LEFT JOIN runs r ON r.run_id = p.run_id
 WHERE p.env = $1 AND position('"$artifact":"'::bytea IN p.payload) > 0
   AND (r.finished_at IS NULL OR r.finished_at >= $2
        OR EXISTS (SELECT FROM commands c WHERE c.base_run_id = r.run_id AND c.number = 1
                      AND NOT EXISTS (SELECT FROM runs s WHERE s.run_id = c.run_id)))

-- name: contents_with_artifacts
SELECT digest, content FROM payloads WHERE env = $1 AND position('"$artifact":"'::bytea IN content) > 0

-- name: contents
SELECT digest, content FROM payloads WHERE env = $1

-- name: referring
SELECT substring(p.payload FROM 2 FOR 32) AS address,
       bool_or(r.finished_at IS NULL OR r.finished_at >= $2
               OR EXISTS (SELECT FROM commands c WHERE c.base_run_id = r.run_id AND c.number = 1
                             AND NOT EXISTS (SELECT FROM runs s WHERE s.run_id = c.run_id))) AS is_young
  FROM event_payloads p LEFT JOIN runs r ON r.run_id = p.run_id
 WHERE substring(p.payload FROM 1 FOR 1) = '@'::bytea AND substring(p.payload FROM 2 FOR 32) = ANY($3::bytea[])
   AND p.env = $1
 GROUP BY 1

-- name: stored
SELECT digest FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: drop
WITH gone AS (
  DELETE FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[]) AND used_at = 'epoch' RETURNING digest)
INSERT INTO dropped_artifacts AS d (env, digest, kept_ms) SELECT $1, digest, $3 FROM gone
ON CONFLICT ON CONSTRAINT dropped_artifacts_pkey DO UPDATE SET dropped_at = excluded.dropped_at, kept_ms = excluded.kept_ms
RETURNING digest

-- name: find_dropped
SELECT d.digest, d.dropped_at, d.kept_ms FROM dropped_artifacts d
 WHERE d.env = $1 AND d.digest = ANY($2::bytea[])
   AND NOT EXISTS (SELECT FROM payloads p WHERE p.env = d.env AND p.digest = d.digest)

-- name: has_dropped
SELECT EXISTS (SELECT FROM dropped_artifacts WHERE env = $1)
