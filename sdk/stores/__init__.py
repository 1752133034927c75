"""Stores: everything that is kept in Postgres. One noun per module; each takes a connection and holds none."""
