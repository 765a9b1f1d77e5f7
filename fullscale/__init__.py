"""Full-scale training with Lightning: the same experiment on 1 process and on 512."""

from fullscale.torchvision_guard import install_guard

# Before torchvision or lightning is imported anywhere: with a CPU-only torch they would die.
install_guard()
