-- name: has_roles
SELECT to_regclass('database_roles') IS NOT NULL

-- name: name_role
INSERT INTO database_roles (name, kind) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT database_roles_pkey DO UPDATE SET kind = excluded.kind

-- name: forget_roles
DELETE FROM database_roles d WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = d.name)

-- name: list_roles
SELECT name, kind FROM database_roles ORDER BY name

-- name: list_tables
SELECT c.relname AS name, c.relispartition AS is_month
  FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
   AND coalesce(p.relname, c.relname) = ANY($1::text[])
 ORDER BY c.relname

-- name: list_rights
SELECT c.relname AS name, array_agg(DISTINCT p.name) AS rights
  FROM pg_class c, pg_roles m,
       unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (name)
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($2::text[])
   AND pg_has_role($1, m.oid, 'MEMBER') AND has_table_privilege(m.oid, c.oid, p.name)
 GROUP BY c.relname ORDER BY c.relname

-- name: find_role
SELECT r.rolsuper AS rules, pg_has_role(r.oid, c.relowner, 'MEMBER') AS owns,
       pg_has_role(r.oid, d.datdba, 'MEMBER') OR pg_has_role(r.oid, n.nspowner, 'MEMBER') AS houses,
       EXISTS (SELECT FROM pg_roles m
                WHERE pg_has_role(r.oid, m.oid, 'MEMBER')
                  AND (m.rolsuper OR m.rolcreaterole
                       OR m.rolname IN ('pg_execute_server_program', 'pg_write_server_files'))) AS outranks
  FROM pg_roles r, pg_class c, pg_namespace n, pg_database d
 WHERE r.rolname = $1 AND c.oid = 'event_log'::regclass AND n.oid = c.relnamespace AND d.datname = current_database()

-- name: owns_log
SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = 'event_log'::regclass
