"""Processing of bank transactions: events in by two doors, one decision each, signed results out by two doors."""
