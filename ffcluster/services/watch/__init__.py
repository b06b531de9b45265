"""Watch folders: files that become jobs by themselves."""
