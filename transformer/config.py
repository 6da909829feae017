"""Every number that shapes the captioner, in one place."""

from dataclasses import dataclass

SAMPLE_RATE = 16_000  # Hz, mono
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms, so 100 feature frames a second
N_FFT = 512
N_MELS = 80
SUBSAMPLING = 4  # two convolutions of stride 2: 25 output frames a second
FRAME_S = HOP * SUBSAMPLING / SAMPLE_RATE  # 0.04 s of sound behind each output frame
MAX_PIECE_S = 15.0  # the longest stretch of sound that the network sees at once


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the encoder (and of the small attention decoder that can be put on top of it)."""

    d_model: int = 256
    n_layers: int = 8
    n_heads: int = 4
    d_ff: int = 768
    conv_channels: int = 32  # of the two convolutions that take 100 frames a second down to 25
    conv_kernel: int = 15  # depthwise convolution inside each block, in frames of 40 ms; 0 leaves it out
    dropout: float = 0.1
    auxiliary_layer: int = 0  # a third head reads this block's output; 0 leaves it out
    n_mels: int = N_MELS
    n_phones: int = 40  # 39 ARPAbet phones and the blank
    n_letters: int = 29  # a-z, space, apostrophe and the blank

    def __post_init__(self) -> None:
        if self.d_model % (2 * self.n_heads):
            raise ValueError(f"rotary embedding turns pairs: {self.d_model=} must be a multiple of 2 x {self.n_heads=}")
        if self.conv_kernel and self.conv_kernel % 2 == 0:
            raise ValueError(f"{self.conv_kernel=} must be odd, so that a frame stands in its middle")
        if self.n_mels % SUBSAMPLING:
            raise ValueError(f"{self.n_mels=} must be a multiple of {SUBSAMPLING}, as pitch is subsampled too")
        if self.auxiliary_layer > self.n_layers:
            raise ValueError(f"{self.auxiliary_layer=} is above the last of {self.n_layers=}")


NANO = ModelConfig(d_model=192, n_layers=6, d_ff=768, n_heads=3, conv_kernel=0)
SMALL = ModelConfig()
