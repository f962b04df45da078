"""Models, their training and their registry."""
