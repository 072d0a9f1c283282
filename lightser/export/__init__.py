"""A trained module to a file that another runtime opens."""
