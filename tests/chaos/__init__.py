"""Break real clusters in every way that can be thought of, and compare what they publish."""
