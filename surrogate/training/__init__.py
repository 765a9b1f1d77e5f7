"""Many small networks as one program: their step, its layers, who stays and who leaves."""
