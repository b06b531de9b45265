"""The running programs: the coordinator, the worker, and what they are set to."""
