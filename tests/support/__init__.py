"""What several tests build on: tiny models and graphs, made-up studies, servers that misbehave."""
