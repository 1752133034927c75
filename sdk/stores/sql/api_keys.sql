-- name: insert_key
INSERT INTO api_keys (env, id, name, digest, scopes, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING id, name, scopes, created_by, created_at, expires_at, revoked_at, revoked_by, used_at

-- name: list_keys
SELECT id, name, scopes, created_by, created_at, expires_at, revoked_at, revoked_by, used_at
  FROM api_keys
 WHERE env = $1 AND ($2 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())))
 ORDER BY created_at, id

-- name: find_key
SELECT id, name, scopes, created_by, created_at, expires_at, revoked_at, revoked_by, used_at
  FROM api_keys WHERE env = $1 AND (id = $2 OR name = $2)
 ORDER BY id = $2 DESC, revoked_at IS NULL DESC, created_at DESC
 LIMIT 1

-- name: revoke_key
UPDATE api_keys SET revoked_at = date_trunc('milliseconds', clock_timestamp()), revoked_by = $3
 WHERE env = $1 AND id = $2 AND revoked_at IS NULL
RETURNING id, name, scopes, created_by, created_at, expires_at, revoked_at, revoked_by, used_at

-- name: live_key
SELECT digest, name, scopes, expires_at, used_at IS NULL OR used_at < clock_timestamp() - interval '5 minutes' AS is_stale
  FROM api_keys
 WHERE env = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: note_use
UPDATE api_keys SET used_at = date_trunc('milliseconds', clock_timestamp())
 WHERE env = $1 AND id = $2 AND (used_at IS NULL OR used_at < clock_timestamp() - interval '5 minutes')

-- name: open_session
INSERT INTO api_sessions (env, digest, key_id, expires_at)
SELECT $1, $2, $3, least(clock_timestamp() + make_interval(secs => $4), k.expires_at)
  FROM api_keys k
 WHERE k.env = $1 AND k.id = $3 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
RETURNING expires_at

-- name: live_session
SELECT s.key_id, k.name, k.scopes, s.expires_at
  FROM api_sessions s JOIN api_keys k ON k.env = s.env AND k.id = s.key_id
 WHERE s.env = $1 AND s.digest = $2 AND s.expires_at > clock_timestamp()
   AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())

-- name: close_session
DELETE FROM api_sessions WHERE env = $1 AND digest = $2

-- name: forget_sessions
DELETE FROM api_sessions WHERE env = $1 AND expires_at < clock_timestamp()
