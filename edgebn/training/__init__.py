"""Training the two textbook models."""
