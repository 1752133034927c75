"""Redis and the log are held together: what one has lost comes from the other."""
