"""The same traffic through two planes: both must do the same, byte for byte."""
