"""What steps, tools and workflows in Python are written with."""
