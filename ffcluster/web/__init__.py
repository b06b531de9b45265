"""HTTP for people and programs: the REST API, live events, metrics, and the dashboard's files."""
