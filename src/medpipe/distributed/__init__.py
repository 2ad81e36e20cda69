"""A run on several processes: what they exchange, and how they end together."""
