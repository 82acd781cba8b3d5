"""The commands of `solo-rekd`; to read their flags and show their help needs no torch."""
