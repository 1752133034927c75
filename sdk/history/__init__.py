"""What the log says of a run, read."""
