"""Encoder backends: all that a plugin imports. Runs nothing; opens no file."""
