-- name: lock_anchors
SELECT pg_advisory_lock(hashtextextended('courante anchor ' || $1, 0))

-- name: unlock_anchors
SELECT pg_advisory_unlock(hashtextextended('courante anchor ' || $1, 0))

-- name: moved_runs
SELECT r.run_id, a.seq AS anchored_seq, a.hash AS anchored_hash
  FROM runs r
  LEFT JOIN LATERAL (SELECT x.seq, x.hash FROM anchor_heads x WHERE x.env = r.env AND x.run_id = r.run_id
                      ORDER BY x.seq DESC LIMIT 1) a ON true
  LEFT JOIN LATERAL (SELECT l.seq, l.hash FROM event_log l WHERE r.last_seq IS NULL AND l.run_id = r.run_id
                      ORDER BY l.seq DESC LIMIT 1) h ON true
 WHERE r.env = $1 AND r.run_id > $2 AND r.archived_at IS NULL
   AND (coalesce(r.last_seq, h.seq), coalesce(r.last_hash, h.hash)) IS DISTINCT FROM (a.seq, a.hash)
 ORDER BY r.run_id
 LIMIT $3

-- name: hash_of_event
SELECT hash FROM event_log WHERE run_id = $1 AND seq = $2

-- name: insert_heads
INSERT INTO anchor_heads (env, run_id, seq, hash, anchor, position)
SELECT $1, h.run_id, h.seq, h.hash, $2, h.position
  FROM unnest($3::text[], $4::bigint[], $5::bytea[], $6::bigint[]) AS h (run_id, seq, hash, position)

-- name: insert_anchor
INSERT INTO anchors (env, number, at, heads, line) VALUES ($1, $2, $3, $4, $5)

-- name: last_anchor
SELECT number, line FROM anchors WHERE env = $1 ORDER BY number DESC LIMIT 1

-- name: read_anchors
SELECT number, line FROM anchors WHERE env = $1 AND number > $2 ORDER BY number LIMIT $3

-- name: last_head_of_run
SELECT seq, anchor, position FROM anchor_heads WHERE env = $1 AND run_id = $2 ORDER BY seq DESC LIMIT 1

-- name: heads_of_anchor
SELECT position, run_id, seq, hash FROM anchor_heads
 WHERE env = $1 AND anchor = $2 AND position >= $3
 ORDER BY position
 LIMIT $4

-- name: heads_with_log
SELECT h.position, h.run_id, h.seq, h.hash, l.hash AS found
  FROM anchor_heads h LEFT JOIN event_log l ON l.run_id = h.run_id AND l.seq = h.seq
 WHERE h.env = $1 AND h.anchor = $2 AND h.position >= $3
 ORDER BY h.position
 LIMIT $4

-- name: delete_draft
DELETE FROM anchor_drafts WHERE env = $1

-- name: delete_draft_heads
DELETE FROM anchor_draft_heads WHERE env = $1

-- name: insert_draft
INSERT INTO anchor_drafts (env, line) VALUES ($1, $2)

-- name: insert_draft_heads
INSERT INTO anchor_draft_heads (env, run_id, seq, hash, position)
SELECT $1, h.run_id, h.seq, h.hash, h.position
  FROM unnest($2::text[], $3::bigint[], $4::bytea[], $5::bigint[]) AS h (run_id, seq, hash, position)

-- name: read_draft
SELECT line FROM anchor_drafts WHERE env = $1

-- name: keep_draft_heads
INSERT INTO anchor_heads (env, run_id, seq, hash, anchor, position)
SELECT env, run_id, seq, hash, $2, position FROM anchor_draft_heads WHERE env = $1
