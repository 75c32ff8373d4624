"""How well promises and probabilities of being late hold on real deliveries."""
