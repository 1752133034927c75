"""Tools as a worker calls them: those of its module in Python, and those that its operator has declared."""
