"""Studies: one YAML file and its ablation sheet = one reproducible table."""
