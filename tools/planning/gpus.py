"""What GPUs can do, from their vendor's data sheets."""

from dataclasses import dataclass

GIB = 2**30
# Share of the memory that torch's allocator can use; the rest is the driver's and CUDA's
USABLE = 0.96


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: as people call it.
        source: the data sheet that the figures are from.
        memory: in GiB.
        bandwidth: of the memory, in GB/s.
        fp32: dense matrix products in float32, TFLOP/s.
        tf32: in TF32, None where there are none.
        fp16: in float16, accumulated in float32.
        bf16: in bfloat16, None where there are none.
    """

    name: str
    source: str
    memory: float
    bandwidth: float
    fp32: float
    tf32: float | None
    fp16: float
    bf16: float | None

    def peak(self, precision: str) -> float:
        """Operations per second of dense matrix products.

        Raises:
            ValueError: it has none of this precision.
        """
        found = getattr(self, precision)
        if found is None:
            has = [name for name in ('fp32', 'tf32', 'fp16', 'bf16') if getattr(self, name)]
            raise ValueError(
                f'{self.name} has no products in {precision}: choose {" or ".join(has)}'
            )
        return found * 1e12

    @property
    def usable(self) -> int:
        """Bytes that a training can have."""
        return int(self.memory * GIB * USABLE)


# Dense rates; data sheets of NVIDIA often name twice that, "with sparsity".
GPUS = {
    'a100-40': Gpu(
        'A100 SXM 40 GB', 'NVIDIA A100 Tensor Core GPU data sheet', 40, 1555, 19.5, 156, 312, 312
    ),
    'a100-80': Gpu(
        'A100 SXM 80 GB', 'NVIDIA A100 Tensor Core GPU data sheet', 80, 2039, 19.5, 156, 312, 312
    ),
    'h100': Gpu(
        'H100 SXM 80 GB', 'NVIDIA H100 Tensor Core GPU data sheet', 80, 3350, 67, 494, 989, 989
    ),
    'h200': Gpu(
        'H200 SXM 141 GB', 'NVIDIA H200 Tensor Core GPU data sheet', 141, 4800, 67, 494, 989, 989
    ),
    'b200': Gpu('B200 180 GB', 'NVIDIA HGX B200 data sheet', 180, 8000, 75, 1125, 2250, 2250),
    'l40s': Gpu('L40S 48 GB', 'NVIDIA L40S data sheet', 48, 864, 91.6, 183, 362, 362),
    'a10': Gpu('A10 24 GB', 'NVIDIA A10 data sheet', 24, 600, 31.2, 62.5, 125, 125),
    't4': Gpu('T4 16 GB', 'NVIDIA T4 data sheet', 16, 320, 8.1, None, 65, None),
    'v100': Gpu('V100 SXM2 32 GB', 'NVIDIA V100 data sheet', 32, 900, 15.7, None, 125, None),
    'rtx4090': Gpu(
        'RTX 4090 24 GB', 'NVIDIA Ada GPU architecture white paper', 24, 1008, 82.6, 82.6, 165, 165
    ),
    'rtx3090': Gpu(
        'RTX 3090 24 GB', 'NVIDIA GA102 GPU architecture white paper', 24, 936, 35.6, 35.6, 71, 71
    ),
}
CPU = 'cpu'
