"""What attacks estimate keys by: statistics, matching, objectives."""
