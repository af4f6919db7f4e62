"""`make bench`: the reference engine measured over namespaces, beside plain forwarding."""
