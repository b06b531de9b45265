"""What outlives a message: files on disk. Knows no network."""
