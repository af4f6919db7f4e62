"""What the operator wrote, as text, TOML or JSON, and the checked values that it stands for."""
