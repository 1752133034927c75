"""What operators are told of an environment: metrics, traces, alerts."""
