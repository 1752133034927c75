-- name: add_webhook
INSERT INTO webhooks (env, name, url, kinds, workflow, secret, by) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT ON CONSTRAINT webhooks_pkey DO NOTHING
RETURNING name

-- name: list_webhooks
SELECT w.name, w.url, w.kinds, w.workflow, w.by, w.created_at,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.env = w.env AND d.webhook = w.name AND d.state = 'due') AS due,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.env = w.env AND d.webhook = w.name AND d.state = 'dead') AS dead
  FROM webhooks w WHERE w.env = $1 AND ($2::text IS NULL OR w.name = $2)
 ORDER BY w.name

-- name: has_webhooks
SELECT EXISTS (SELECT FROM webhooks WHERE env = $1)

-- name: remove_webhook
WITH gone AS (DELETE FROM webhooks WHERE env = $1 AND name = $2 RETURNING env, name)
DELETE FROM webhook_deliveries d USING gone WHERE d.env = gone.env AND d.webhook = gone.name AND d.state <> 'sent'

-- name: tell_of_runs
INSERT INTO webhook_deliveries (env, webhook, event_id, body)
SELECT w.env, w.name, g.run_id || ':' || g.seq,
       jsonb_strip_nulls(jsonb_build_object(
         'id', g.run_id || ':' || g.seq, 'type', CASE WHEN g.kind = ANY(w.kinds) THEN g.kind ELSE 'run.ended' END,
         'at', to_char(g.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'env', w.env, 'run_id', g.run_id,
         'workflow', r.workflow, 'version', r.version, 'status', nullif(g.status, ''), 'step', nullif(g.step, ''),
         'error', nullif(g.error, '')))::text
  FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[])
       AS g (run_id, seq, at, kind, status, step, error)
  JOIN webhooks w ON w.env = $1 AND w.created_at <= g.at
                 AND (g.kind = ANY(w.kinds) OR (g.kind = 'run.failed' AND 'run.ended' = ANY(w.kinds)))
  JOIN runs r ON r.run_id = g.run_id AND (w.workflow IS NULL OR w.workflow = r.workflow)
ON CONFLICT ON CONSTRAINT webhook_deliveries_pkey DO NOTHING

-- name: tell_of_alerts
INSERT INTO webhook_deliveries (env, webhook, event_id, body)
SELECT w.env, w.name, e.event_id,
       jsonb_build_object('id', e.event_id, 'type', 'alert',
         'at', to_char(a.raised_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'env', w.env,
         'alert', a.kind, 'subject', a.subject, 'message', a.message)::text
  FROM alerts a
 CROSS JOIN LATERAL (SELECT 'alert:' || a.kind || ':' || a.subject || ':'
                            || floor(extract(epoch FROM a.raised_at) * 1000)::bigint AS event_id) e
  JOIN webhooks w ON w.env = a.env AND w.created_at <= a.raised_at AND 'alert' = ANY(w.kinds) AND w.workflow IS NULL
 WHERE a.env = $1 AND a.kind = $2 AND a.subject = ANY($3::text[])
ON CONFLICT ON CONSTRAINT webhook_deliveries_pkey DO NOTHING

-- name: tell_a_test
INSERT INTO webhook_deliveries (env, webhook, event_id, body) VALUES ($1, $2, $3, $4)

-- name: take_due
UPDATE webhook_deliveries d
   SET attempts = d.attempts + 1, due_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
  FROM (SELECT o.env, o.webhook, o.event_id, w.url, w.secret
          FROM webhooks w
          LEFT JOIN unnest($5::text[], $6::bigint[]) AS held (webhook, deliveries) ON held.webhook = w.name
         CROSS JOIN LATERAL (
           SELECT env, webhook, event_id, due_at FROM webhook_deliveries
            WHERE env = w.env AND webhook = w.name AND state = 'due' AND due_at <= statement_timestamp()
            ORDER BY due_at LIMIT greatest(0, $4::bigint - coalesce(held.deliveries, 0)) FOR UPDATE SKIP LOCKED) AS o
         WHERE w.env = $1
         ORDER BY coalesce(held.deliveries, 0) + row_number() OVER (PARTITION BY o.webhook ORDER BY o.due_at), o.due_at
         LIMIT $2) AS t
 WHERE d.env = t.env AND d.webhook = t.webhook AND d.event_id = t.event_id
RETURNING d.webhook, d.event_id, d.body, d.attempts, t.url, t.secret

-- name: mark_sent
UPDATE webhook_deliveries SET state = 'sent', sent_at = clock_timestamp(), error = NULL
 WHERE env = $1 AND webhook = $2 AND event_id = $3

-- name: mark_failed
UPDATE webhook_deliveries
   SET state = CASE WHEN $5::bigint IS NULL THEN 'dead' ELSE 'due' END, error = $4,
       due_at = clock_timestamp() + coalesce($5, 0) * interval '1 millisecond'
 WHERE env = $1 AND webhook = $2 AND event_id = $3 AND state = 'due'

-- name: drop_sent
DELETE FROM webhook_deliveries WHERE state = 'sent' AND sent_at < clock_timestamp() - $1::bigint * interval '1 second'

-- name: read_deliveries
SELECT d.webhook, d.event_id, d.state, d.attempts, d.error
  FROM unnest($2::text[], $3::text[]) AS asked (webhook, event_id)
  JOIN webhook_deliveries d ON d.env = $1 AND d.webhook = asked.webhook AND d.event_id = asked.event_id

-- name: list_dead
SELECT webhook, event_id, body, attempts, error, created_at FROM webhook_deliveries
 WHERE env = $1 AND state = 'dead' AND ($2::text IS NULL OR webhook = $2)
 ORDER BY created_at LIMIT $3

-- name: retry_dead
UPDATE webhook_deliveries SET state = 'due', attempts = 0, due_at = clock_timestamp()
 WHERE env = $1 AND state = 'dead' AND webhook = $2

-- name: drop_dead
DELETE FROM webhook_deliveries WHERE env = $1 AND state = 'dead' AND webhook = $2
