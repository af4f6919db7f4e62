"""What moves frames: the reference datapath, the native one, and the raw sockets of both."""
