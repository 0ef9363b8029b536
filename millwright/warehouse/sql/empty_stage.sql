truncate refreshed, recomputed, compared
