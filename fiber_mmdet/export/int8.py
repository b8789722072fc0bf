"""ONNX programs whose matrix products have weights of 8 bits."""

from pathlib import Path
from typing import Any

from fiber_mmdet.host import need_extra

BLOCK = 64  # values that share a scale


def quantize(path: Path) -> int:
    """Replace the weights of matrix products by numbers of 8 bits, each 64 with a scale.

    Activations, convolutions, embeddings and norms stay in float32, and so do the products
    themselves: onnxruntime multiplies with the weights as they come back from 8 bits
    (``MatMulNBits``).

    Args:
        path: of a program in ONNX, which is overwritten.

    Returns:
        The number of products that were changed.

    Raises:
        MissingExtra: onnx or onnxruntime is not installed.
    """
    onnx = need_extra('onnx', 'export', 'int8')
    library = need_extra(
        'onnxruntime.quantization.matmul_nbits_quantizer', 'export', 'int8 weights'
    )
    config = library.DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, bits=8)
    quantizer = library.MatMulNBitsQuantizer(onnx.load(str(path)), algo_config=config)
    quantizer.process()
    model: Any = quantizer.model.model
    large = model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF
    for beside in path.parent.glob(f'{path.name}.data'):
        beside.unlink()
    onnx.save(model, str(path), save_as_external_data=large, location=f'{path.name}.data')
    return sum(node.op_type == 'MatMulNBits' for node in model.graph.node)
