"""How the processes of a run are started: the check before anything is imported."""
