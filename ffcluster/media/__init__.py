"""ffmpeg and files: find, run, index, split, encode, join, verify. Decides nothing about jobs."""
