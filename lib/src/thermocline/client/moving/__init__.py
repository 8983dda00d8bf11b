"""Moving records between the tiers: up into hot, down into cold and back, and the pass that applies the rules to all of them (ADR 0009)."""
