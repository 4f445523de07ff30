"""The statistics, matching and objectives by which attacks estimate keys."""
