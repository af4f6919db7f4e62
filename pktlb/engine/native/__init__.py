"""The native engine: the reference engine's behaviour in C, absent where nothing was compiled."""
