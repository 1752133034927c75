"""The marking of a run, and the laws by which it changes. Pure."""
