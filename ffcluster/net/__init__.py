"""The wire: messages, sessions, bulk transfer and the thin layer over Twisted and Autobahn."""
