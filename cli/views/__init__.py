"""What the command line prints of each noun: lines and tables, no I/O of their own."""
