"""The engine: mathematics, models and the loop. No pluggy, no YAML, no plugins."""
