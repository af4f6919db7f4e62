"""C headers that parse and rewrite packets, for the native engine and for the kernel."""
