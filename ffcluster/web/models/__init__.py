"""The resources of the REST API, as they are shown and documented; `bodies` has what is sent."""
