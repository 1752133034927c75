-- A run that goes on from another one says which of its steps are executed again, and what stands for others.
-- deploy: before

ALTER TABLE commands ADD COLUMN base_terms bytea;
COMMENT ON COLUMN commands.base_terms IS 'start only: how it goes on from its base run, JSON bytes; NULL for a retry, and where it begins at its beginning';
