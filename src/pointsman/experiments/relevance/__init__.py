"""DaRL's tables (arXiv 2412.12504): graded, calibrated relevance that survives a shift of domain."""
