"""Live runs that go on by another version of their workflow."""
