"""Public test doubles: manual clock, lossy network, scripted peers, fake engine."""
