"""DRO's tables: selector and reader trained together, apart, and one without the other."""
