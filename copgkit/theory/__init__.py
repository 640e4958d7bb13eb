"""The theory, checked: exact optima, the paper's bandit, and `verify`, which runs every claim against the engine."""
