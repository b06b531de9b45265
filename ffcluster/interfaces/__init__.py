"""Command lines and service makers: the outermost layer, which everything else ignores."""
