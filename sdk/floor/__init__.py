"""Redis, where runs are danced: its scripts, what they are called with, and what is read there."""
