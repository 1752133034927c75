"""What a run begins with that goes on from another one: what is taken over, and what is played again."""
