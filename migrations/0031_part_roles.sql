-- Who appends need not own the log: its months are made in the name of the owner, whoever asks for them.
-- deploy: before

DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION make_event_partitions(bigint) SECURITY DEFINER SET search_path = %I, pg_temp',
                 current_schema());
END $$;
REVOKE EXECUTE ON FUNCTION make_event_partitions(bigint) FROM PUBLIC;

CREATE TABLE database_roles (
  name text NOT NULL,
  kind text NOT NULL,
  granted_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  CONSTRAINT database_roles_pkey PRIMARY KEY (name),
  CONSTRAINT database_roles_kind_known CHECK (kind IN ('append', 'read'))
);
COMMENT ON TABLE database_roles IS 'Roles of Postgres that every migration grants their rights to again.';
COMMENT ON COLUMN database_roles.name IS 'name of the role';
COMMENT ON COLUMN database_roles.kind IS 'append: what daemons need; read: what auditors need';
COMMENT ON COLUMN database_roles.granted_at IS 'when it was named for the first time, UTC, whole milliseconds';
