-- name: raise_alerts
INSERT INTO alerts (env, kind, subject, message, since)
SELECT $1, $2, g.subject, g.message, g.since
  FROM unnest($3::text[], $4::text[], $5::timestamptz[]) AS g (subject, message, since)
 ORDER BY g.subject
ON CONFLICT ON CONSTRAINT alerts_pkey DO UPDATE SET message = excluded.message, since = excluded.since
 WHERE (alerts.message, alerts.since) <> (excluded.message, excluded.since)

-- name: clear_alerts
DELETE FROM alerts WHERE env = $1 AND kind = $2 AND NOT subject = ANY($3::text[])

-- name: list_alerts
SELECT kind, subject, message, since, raised_at FROM alerts
 WHERE env = $1 AND ($2::text IS NULL OR subject = $2)
 ORDER BY since, kind, subject
 LIMIT $3
