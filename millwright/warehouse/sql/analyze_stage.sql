analyze refreshed;
analyze recomputed;
