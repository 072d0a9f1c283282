"""Tables, plots and pages, computed from predictions tables and from nothing else."""
