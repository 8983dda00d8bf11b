"""The tiers: each knows one SDK (or none), and all speak `thermocline.protocols`."""
