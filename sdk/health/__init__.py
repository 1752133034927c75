"""Whether all is well, and by what that is judged."""
