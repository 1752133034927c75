"""The log, written: what the outbox of a partition holds becomes events and rows."""
