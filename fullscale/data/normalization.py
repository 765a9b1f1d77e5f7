"""From uint8 pixels to what a network takes: done on the device, a quarter of the bytes travel."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Statistics of pixels in [0, 1].

    Attributes:
        mean: of each channel.
        std: of each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Standardise a batch on the device where it is.

        Args:
            images: on the scale of uint8, shape (B, channels, height, width); left as they are.
            dtype: of the result. The arithmetic is done in float32 at least.

        Returns:
            Standardised images of that shape, contiguous.
        """
        wide = torch.promote_types(dtype, torch.float32)
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, dtype=wide, device=images.device).view(shape)
        std = torch.tensor(self.std, dtype=wide, device=images.device).view(shape)
        values = images.to(wide, memory_format=torch.contiguous_format, copy=True).div_(255)
        return values.sub_(mean).div_(std).to(dtype)


# Of ImageNet's training split, as torchvision and most others use them.
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
