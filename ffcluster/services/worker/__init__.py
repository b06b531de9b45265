"""The worker: its sessions, its slots, and the attempts that it works on."""
