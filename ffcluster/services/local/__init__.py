"""What is done on one machine, without a coordinator elsewhere."""
