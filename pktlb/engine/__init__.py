"""What moves frames (engines), what decides on them (planes), and the raw sockets of both."""
