"""The coordinator: one loop, its effects, its sessions, and the service that holds them."""
