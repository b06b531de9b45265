"""What a coordinator keeps: its ledger, its blobs, its tokens, and what earlier jobs left."""
