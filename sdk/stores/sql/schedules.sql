-- name: insert_schedule
INSERT INTO schedules (env, id, workflow, version, input, cron, every_ms, anchor, timezone, jitter_ms, catch_up,
                       catch_up_max, grace_ms, overlap, tags, starts_at, ends_at, by, note, is_paused, next_tick,
                       created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $22)
ON CONFLICT ON CONSTRAINT schedules_pkey DO NOTHING
RETURNING id

-- name: replace_schedule
UPDATE schedules
   SET workflow = $3, version = $4, input = $5, cron = $6, every_ms = $7, anchor = $8, timezone = $9, jitter_ms = $10,
       catch_up = $11, catch_up_max = $12, grace_ms = $13, overlap = $14, tags = $15, starts_at = $16, ends_at = $17,
       by = $18, note = $19, next_tick = $20, updated_at = $21
 WHERE env = $1 AND id = $2

-- name: get_schedule
SELECT * FROM schedules WHERE env = $1 AND id = $2

-- name: lock_schedule
SELECT * FROM schedules WHERE env = $1 AND id = $2 FOR NO KEY UPDATE

-- name: list_schedules
SELECT * FROM schedules WHERE env = $1 AND id > $2 ORDER BY id LIMIT $3

-- name: pause_schedule
UPDATE schedules SET is_paused = true, pause_by = $3, pause_note = $4, updated_at = $5 WHERE env = $1 AND id = $2

-- name: resume_schedule
UPDATE schedules SET is_paused = false, pause_by = NULL, pause_note = '', next_tick = $3, updated_at = $4
 WHERE env = $1 AND id = $2

-- name: delete_schedule
DELETE FROM schedules WHERE env = $1 AND id = $2

-- name: lock_due_schedules
SELECT * FROM schedules
 WHERE env = $1 AND NOT is_paused AND next_tick <= $2 AND id <> ALL($4::text[])
 ORDER BY next_tick
 LIMIT $3
   FOR NO KEY UPDATE SKIP LOCKED

-- name: lock_schedules
SELECT * FROM schedules WHERE env = $1 AND id = ANY($2::text[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED

-- name: get_schedules
SELECT * FROM schedules WHERE env = $1 AND id = ANY($2::text[])

-- name: move_next
UPDATE schedules SET next_tick = g.next_tick
  FROM unnest($2::text[], $3::timestamptz[]) AS g (id, next_tick)
 WHERE schedules.env = $1 AND schedules.id = g.id

-- name: first_next_tick
SELECT min(next_tick) FROM schedules WHERE env = $1 AND NOT is_paused AND next_tick IS NOT NULL
