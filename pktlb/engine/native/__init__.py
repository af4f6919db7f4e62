"""The native engine: the reference engine's behaviour, in C. Absent where nothing was compiled."""
