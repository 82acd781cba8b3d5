"""The commands of `solo-rekd`; reading their flags and showing their help needs no torch."""
