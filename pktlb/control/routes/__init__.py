"""The routes of the control socket: a module for each resource."""
