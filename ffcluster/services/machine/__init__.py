"""What this machine can encode with, how fast, and how busy it is."""
