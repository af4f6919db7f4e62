"""The same traffic through two engines: whatever comes, they do the same, byte for byte."""
