"""Makes it so: starts, follows the configuration and the machine, and undoes it all at the end."""
