"""Properties: what must hold of any packet, in any order, at any time."""
