-- What calls of language models have taken is known per attempt and per run, in tokens and money.
-- deploy: before

CREATE TABLE attempt_spending (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  currency text NOT NULL,
  provider text NOT NULL,
  model text NOT NULL,
  calls bigint NOT NULL,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cached_tokens bigint NOT NULL,
  cost bigint NOT NULL,
  unpriced bigint NOT NULL,
  unknown bigint NOT NULL,
  CONSTRAINT attempt_spending_pkey PRIMARY KEY (run_id, node, scope, attempt, currency)
);
COMMENT ON TABLE attempt_spending IS 'Projection of the log: what the calls of models of an attempt have taken. Attempts without calls have no row.';
COMMENT ON COLUMN attempt_spending.env IS 'environment name';
COMMENT ON COLUMN attempt_spending.run_id IS 'run';
COMMENT ON COLUMN attempt_spending.node IS 'node id';
COMMENT ON COLUMN attempt_spending.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN attempt_spending.attempt IS 'try, from 1';
COMMENT ON COLUMN attempt_spending.currency IS 'of the cost, three capitals; empty for what has no price';
COMMENT ON COLUMN attempt_spending.provider IS 'provider of the last call';
COMMENT ON COLUMN attempt_spending.model IS 'model of the last call';
COMMENT ON COLUMN attempt_spending.calls IS 'number of calls';
COMMENT ON COLUMN attempt_spending.input_tokens IS 'input tokens of all calls';
COMMENT ON COLUMN attempt_spending.output_tokens IS 'output tokens of all calls';
COMMENT ON COLUMN attempt_spending.cached_tokens IS 'input tokens that the provider had cached, of all calls';
COMMENT ON COLUMN attempt_spending.cost IS 'billionths of the currency, of the calls that have a price';
COMMENT ON COLUMN attempt_spending.unpriced IS 'calls of models without a price';
COMMENT ON COLUMN attempt_spending.unknown IS 'calls that were lost: they count with what they could have taken at most';

CREATE TABLE run_spending (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  currency text NOT NULL,
  calls bigint NOT NULL,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cached_tokens bigint NOT NULL,
  cost bigint NOT NULL,
  unpriced bigint NOT NULL,
  unknown bigint NOT NULL,
  CONSTRAINT run_spending_pkey PRIMARY KEY (run_id, currency)
);
COMMENT ON TABLE run_spending IS 'Projection of the log: what the calls of models of a run have taken, by currency. Runs without calls have no row.';
COMMENT ON COLUMN run_spending.env IS 'environment name';
COMMENT ON COLUMN run_spending.run_id IS 'run';
COMMENT ON COLUMN run_spending.currency IS 'of the cost, three capitals; empty for what has no price';
COMMENT ON COLUMN run_spending.calls IS 'number of calls';
COMMENT ON COLUMN run_spending.input_tokens IS 'input tokens of all calls';
COMMENT ON COLUMN run_spending.output_tokens IS 'output tokens of all calls';
COMMENT ON COLUMN run_spending.cached_tokens IS 'input tokens that the provider had cached, of all calls';
COMMENT ON COLUMN run_spending.cost IS 'billionths of the currency, of the calls that have a price';
COMMENT ON COLUMN run_spending.unpriced IS 'calls of models without a price';
COMMENT ON COLUMN run_spending.unknown IS 'calls that were lost: they count with what they could have taken at most';

CREATE OR REPLACE FUNCTION drop_executions_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM node_executions USING gone WHERE node_executions.run_id = gone.run_id;
  DELETE FROM dead_letters USING gone WHERE dead_letters.run_id = gone.run_id;
  DELETE FROM children USING gone WHERE children.parent_run_id = gone.run_id;
  DELETE FROM attempt_spending USING gone WHERE attempt_spending.run_id = gone.run_id;
  DELETE FROM run_spending USING gone WHERE run_spending.run_id = gone.run_id;
  RETURN NULL;
END $$;
