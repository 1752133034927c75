"""What is asked to be started, checked at the door."""
