"""What `bench/compare` and `bench/instructions` are made of; Python 3.9 and nothing else."""
