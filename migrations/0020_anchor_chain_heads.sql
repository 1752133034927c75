-- What the log said on a day can be held against what it says later: heads of chains, under one root that others keep.
-- deploy: before

CREATE TABLE anchors (
  env text NOT NULL,
  number bigint NOT NULL,
  at timestamptz NOT NULL,
  heads bigint NOT NULL,
  line bytea NOT NULL,
  CONSTRAINT anchors_pkey PRIMARY KEY (env, number),
  CONSTRAINT anchors_number_positive CHECK (number >= 1)
);
COMMENT ON TABLE anchors IS 'Anchors: each is a root over the heads of the runs that have moved since the one before. Rows never change.';
COMMENT ON COLUMN anchors.env IS 'environment name';
COMMENT ON COLUMN anchors.number IS 'number of the anchor, from 1 without a gap';
COMMENT ON COLUMN anchors.at IS 'when it was made, UTC';
COMMENT ON COLUMN anchors.heads IS 'number of heads below its root';
COMMENT ON COLUMN anchors.line IS 'JSON bytes of the line that others keep, without its end';

CREATE TABLE anchor_heads (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  hash bytea NOT NULL,
  anchor bigint NOT NULL,
  position bigint NOT NULL,
  CONSTRAINT anchor_heads_pkey PRIMARY KEY (env, run_id, seq),
  CONSTRAINT anchor_heads_position_key UNIQUE (env, anchor, position)
);
COMMENT ON TABLE anchor_heads IS 'Leaves of the anchors: how far the log of a run went, and the hash of its last event then. Rows never change.';
COMMENT ON COLUMN anchor_heads.env IS 'environment name';
COMMENT ON COLUMN anchor_heads.run_id IS 'run';
COMMENT ON COLUMN anchor_heads.seq IS 'number of its last event when the anchor was made';
COMMENT ON COLUMN anchor_heads.hash IS 'hash of that event, 32 bytes';
COMMENT ON COLUMN anchor_heads.anchor IS 'number of the anchor';
COMMENT ON COLUMN anchor_heads.position IS 'place of the leaf, from 0, in the order of run ids';

CREATE TRIGGER anchors_refuse_change BEFORE UPDATE OR DELETE ON anchors
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER anchors_refuse_truncate BEFORE TRUNCATE ON anchors
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER anchor_heads_refuse_change BEFORE UPDATE OR DELETE ON anchor_heads
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER anchor_heads_refuse_truncate BEFORE TRUNCATE ON anchor_heads
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
