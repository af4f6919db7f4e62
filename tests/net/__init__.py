"""Real traffic in network namespaces; every test builds its own laboratory. Needs root."""
