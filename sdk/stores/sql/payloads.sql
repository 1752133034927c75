-- name: touch_payloads
WITH touched AS (
  UPDATE payloads p SET used_at = now()
    FROM (SELECT env, digest FROM payloads
           WHERE env = $1 AND digest = ANY($2::bytea[]) AND used_at < now() - interval '1 hour'
           ORDER BY digest FOR UPDATE) g
   WHERE p.env = g.env AND p.digest = g.digest
  RETURNING p.digest)
SELECT digest FROM touched
 UNION
SELECT digest FROM payloads
 WHERE env = $1 AND digest = ANY($2::bytea[]) AND used_at >= now() - interval '1 hour'

-- name: insert_payloads
INSERT INTO payloads (env, digest, content)
SELECT $1, g.digest, g.content FROM unnest($2::bytea[], $3::bytea[]) AS g (digest, content)
 ORDER BY g.digest
ON CONFLICT ON CONSTRAINT payloads_pkey DO UPDATE SET used_at = now()

-- name: unused_payloads
SELECT digest FROM payloads
 WHERE env = $1 AND used_at < now() - make_interval(secs => $2)
 ORDER BY used_at LIMIT $3

-- name: referred_payloads
SELECT DISTINCT substring(payload FROM 2 FOR 32) AS digest FROM event_payloads
 WHERE substring(payload FROM 1 FOR 1) = '@'::bytea AND substring(payload FROM 2 FOR 32) = ANY($2::bytea[]) AND env = $1
 UNION
SELECT substring(output FROM 2 FOR 32) FROM step_cache
 WHERE env = $1 AND substring(output FROM 1 FOR 1) = '@'::bytea AND substring(output FROM 2 FOR 32) = ANY($2::bytea[])

-- name: event_payloads_with_artifacts
SELECT payload AS content FROM event_payloads WHERE env = $1 AND position('"$artifact":"'::bytea IN payload) > 0

-- name: cached_with_artifacts
SELECT output AS content FROM step_cache WHERE env = $1 AND position('"$artifact":"'::bytea IN output) > 0

-- name: payloads_with_artifacts
SELECT content FROM payloads WHERE env = $1 AND position('"$artifact":"'::bytea IN content) > 0

-- name: all_payloads
SELECT content FROM payloads WHERE env = $1

-- name: has_sealed
SELECT EXISTS (SELECT FROM payloads
                WHERE env = $1 AND digest = ANY($2::bytea[]) AND substring(content FROM 1 FOR length($3::bytea)) = $3::bytea)

-- name: delete_payloads
DELETE FROM payloads
 WHERE env = $1 AND digest = ANY($2::bytea[]) AND used_at < now() - make_interval(secs => $3)
RETURNING digest

-- name: get_payloads
SELECT digest, content FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: get_event_payload
SELECT payload FROM event_payloads WHERE run_id = $1 AND seq = $2

-- name: give_up
UPDATE payloads SET used_at = 'epoch' WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: given_up
SELECT digest FROM payloads WHERE env = $1 AND used_at = 'epoch'
