"""Every method of the noisy quadratic model as a linear system: docs/simulator.md."""
