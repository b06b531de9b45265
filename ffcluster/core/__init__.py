"""Decisions, without any clock, socket or file: the standard library and attrs only."""
