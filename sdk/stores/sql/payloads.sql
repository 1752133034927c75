-- name: known_payloads
SELECT digest FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: insert_payloads
INSERT INTO payloads (env, digest, content)
SELECT $1, g.digest, g.content FROM unnest($2::bytea[], $3::bytea[]) AS g (digest, content)
 ORDER BY g.digest
ON CONFLICT ON CONSTRAINT payloads_pkey DO NOTHING

-- name: get_payloads
SELECT digest, content FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: get_event_payload
SELECT payload FROM event_payloads WHERE run_id = $1 AND seq = $2
