"""The frozen encoder that every specialist shares: weights, layout, batching, adapters."""
