"""Raw sockets and TUN: frames off the wire and onto it, and no services."""
