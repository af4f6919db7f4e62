"""Raw sockets: frames off the wire and onto it. Knows frames and interfaces, no services."""
