"""The reference plane: frames and times in, frames and reasons out, as the native one must do."""
