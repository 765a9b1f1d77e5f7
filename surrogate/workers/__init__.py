"""The workers a sweep can have: processes of this machine, a Dask cluster, SLURM arrays."""
