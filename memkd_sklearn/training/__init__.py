"""How a network is trained: the loop, the compiled epoch, the objective, the optimiser."""
