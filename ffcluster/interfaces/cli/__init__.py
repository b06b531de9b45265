"""The `ffcluster` command. Modules here stay cheap to import: `--help` must be quick."""
