"""What coordinator and worker can be told: every option, its check, and where it is read from."""
