"""The state of a run as a fold of its log. Pure."""
