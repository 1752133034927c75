"""What steps and processes say for people to read."""
