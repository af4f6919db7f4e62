"""From a configuration and a machine to what should exist; pure functions."""
