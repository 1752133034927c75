-- name: get_salt
SELECT salt FROM salts WHERE env = $1;

-- name: add_salt
INSERT INTO salts (env, salt) VALUES ($1, $2) ON CONFLICT (env) DO NOTHING;

-- name: replace_salt
UPDATE salts SET salt = $3 WHERE env = $1 AND salt = $2;
