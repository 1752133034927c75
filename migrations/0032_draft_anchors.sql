-- Whoever has the key to sign anchors need not reach the database: what is to be signed waits here.
-- deploy: before

CREATE TABLE anchor_drafts (
  env text NOT NULL,
  line bytea NOT NULL,
  CONSTRAINT anchor_drafts_pkey PRIMARY KEY (env)
);
COMMENT ON TABLE anchor_drafts IS 'The anchor of an environment that somebody is about to sign. The next draft takes its place.';
COMMENT ON COLUMN anchor_drafts.env IS 'environment name';
COMMENT ON COLUMN anchor_drafts.line IS 'JSON bytes of the line without its signature';

CREATE TABLE anchor_draft_heads (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  hash bytea NOT NULL,
  position bigint NOT NULL,
  CONSTRAINT anchor_draft_heads_pkey PRIMARY KEY (env, run_id)
);
COMMENT ON TABLE anchor_draft_heads IS 'Leaves of the draft: they become those of the anchor when it is signed.';
COMMENT ON COLUMN anchor_draft_heads.env IS 'environment name';
COMMENT ON COLUMN anchor_draft_heads.run_id IS 'run';
COMMENT ON COLUMN anchor_draft_heads.seq IS 'number of its last event when the draft was made';
COMMENT ON COLUMN anchor_draft_heads.hash IS 'hash of that event, 32 bytes';
COMMENT ON COLUMN anchor_draft_heads.position IS 'place of the leaf, from 0, in the order of run ids';
