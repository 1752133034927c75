"""What is old or no longer wanted leaves: months of the log, payloads, artifacts, runs."""
