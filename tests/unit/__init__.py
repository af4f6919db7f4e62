"""Cases: frames and times in, frames and reasons out."""
