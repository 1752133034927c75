"""HTTP: calls of steps to the outside, which never reach where nobody has allowed them to go."""
