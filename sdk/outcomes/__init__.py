"""What the expressions of a node say, and what becomes of its token. Pure."""
