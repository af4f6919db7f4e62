"""From one process to the next without a lost frame."""
