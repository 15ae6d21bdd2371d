"""Media engines behind one interface."""
