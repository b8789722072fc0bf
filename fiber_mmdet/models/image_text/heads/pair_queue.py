"""Image-text pairs of previous batches, as negatives for contrast and matching."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor, nn

ROWS = ('image', 'text', 'ids', 'mask', 'image_ids')  # buffers with one row per pair


class PairQueue(nn.Module):
    """A ring buffer of pairs: features, tokens, image ids and optionally pixels.

    Nothing in it is part of a checkpoint's weights (see :meth:`dump`). Row r of
    every tensor belongs to the same pair. Pixels are kept for the last ``pixels``
    pairs only, at 3 bytes per pixel for ``uint8``.

    Args:
        size: pairs; 0 for none.
        dim: channels of the features.
        max_tokens: longest text in tokens.
        pad_id: id of the padding token.
        pixels: pairs whose image is kept; divides ``size``.
        pixel_dtype: 'uint8', exact for images that were not resized after
            normalisation, or 'float32'.
        random_start: start as the reference does, with standard normal noise that
            takes part in the loss from the first step on.

    Raises:
        ValueError: ``pixels`` does not divide ``size``, or an unknown type.
    """

    image: Tensor  # (size, dim) float32
    text: Tensor  # (size, dim) float32
    ids: Tensor  # (size, max_tokens) int64
    mask: Tensor  # (size, max_tokens) bool
    image_ids: Tensor  # (size,) int64
    counts: Tensor  # (2,) int64: `pointer` and `total`

    def __init__(
        self,
        size: int,
        dim: int,
        max_tokens: int,
        pad_id: int,
        pixels: int = 0,
        pixel_dtype: str = 'uint8',
        random_start: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= pixels <= size:
            raise ValueError(f'pixel_queue={pixels} must lie between 0 and queue_size={size}')
        if pixel_dtype not in ('uint8', 'float32'):
            raise ValueError(f"pixel_dtype={pixel_dtype!r} must be 'uint8' or 'float32'")
        if pixels and size % pixels:
            raise ValueError(f'queue_size={size} must be a multiple of pixel_queue={pixels}')
        self.size, self.pixels, self.random_start = size, pixels, random_start
        self.pad_id = pad_id
        self.pixel_dtype = getattr(torch, pixel_dtype)
        start = torch.randn if random_start else torch.zeros
        for name, value in dict(
            image=start(size, dim),
            text=start(size, dim),
            ids=torch.full((size, max_tokens), pad_id),
            mask=torch.zeros(size, max_tokens, dtype=torch.bool),
            image_ids=torch.zeros(size, dtype=torch.int64),
            counts=torch.zeros(2, dtype=torch.int64),
        ).items():
            self.register_buffer(name, value, persistent=False)
        # not a buffer: it is made later, and an average of the model needs no copy of it
        self.images: Tensor | None = None
        self.held = 0  # images ever written to it

    @property
    def pointer(self) -> int:
        """Row that is written next."""
        return int(self.counts[0])

    @property
    def total(self) -> int:
        """Number of pairs ever written."""
        return int(self.counts[1])

    @property
    def filled(self) -> int:
        """Number of rows that hold a pair."""
        return min(self.total, self.size)

    @property
    def used(self) -> int:
        """Number of rows that take part in the loss."""
        return self.size if self.random_start else self.filled

    def has_pixels(self) -> Tensor:
        """(used,) bool, True for rows whose image is kept."""
        rows = torch.arange(self.used, device=self.counts.device)
        age = (self.pointer - 1 - rows) % max(self.size, 1)
        return age < min(self.pixels, self.held)

    def take_images(self, rows: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(K, 3, S, S) float32 normalised images of the pairs in ``rows``.

        Args:
            rows: (K,) int64, all with pixels.
            mean: (3, 1, 1) of the normalisation.
            std: (3, 1, 1) of the normalisation.
        """
        assert self.images is not None, 'no image has been written'
        images = self.images[rows % self.pixels]
        return images if images.is_floating_point() else (images.float() - mean) / std

    @torch.no_grad()
    def push(
        self,
        image: Tensor,
        text: Tensor,
        ids: Tensor,
        mask: Tensor,
        image_ids: Tensor,
        images: Tensor | None,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        """Write the pairs of all processes over the oldest ones.

        Args:
            image: (n, dim) image features.
            text: (n, dim) text features.
            ids: (n, L) int64, L at most ``max_tokens``.
            mask: (n, L) bool, True at real tokens.
            image_ids: (n,) int64.
            images: (n, 3, S, S) normalised; read only if pixels are kept.
            mean: (3, 1, 1) of the normalisation.
            std: (3, 1, 1) of the normalisation.
        """
        if not self.size:
            return
        pad = self.ids.shape[1] - ids.shape[1]
        rows = dict(
            image=image,
            text=text,
            ids=F.pad(ids, (0, pad), value=self.pad_id),
            mask=F.pad(mask, (0, pad)),
            image_ids=image_ids,
        )
        if self.pixels:
            assert images is not None, 'pixel_queue needs the pixels of the batch'
            rows['images'] = self._stored(images, mean, std)
        rows = {name: torch.cat(gather_rows(value)) for name, value in rows.items()}
        count = len(rows['image'])
        places = (self.pointer + torch.arange(count, device=image.device)) % self.size
        last = slice(max(count - self.size, 0), None)  # a batch can be longer than the queue
        for name in ROWS:
            buffer = getattr(self, name)
            buffer[places[last]] = rows[name][last].to(buffer.dtype)
        if self.pixels:
            kept = slice(max(count - self.pixels, 0), None)
            if self.images is None:
                shape = rows['images'].shape[1:]
                self.images = rows['images'].new_zeros(self.pixels, *shape)
            self.images[places[kept] % self.pixels] = rows['images'][kept]
            self.held += count
        self.counts.copy_(torch.tensor([(self.pointer + count) % self.size, self.total + count]))

    def _stored(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        if self.pixel_dtype == torch.uint8:
            return (images * std + mean).round().clamp(0, 255).to(torch.uint8)
        return images

    def dump(self) -> dict[str, Tensor]:
        """What a resumed training needs: everything except the pixels."""
        return {name: getattr(self, name).cpu() for name in (*ROWS, 'counts')}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the result of :meth:`dump`; pixels are cleared.

        Args:
            state: from a queue of the same size.

        Raises:
            ValueError: from a queue of another size.
        """
        for name in (*ROWS, 'counts'):
            old, new = state[name].shape, getattr(self, name).shape
            if old != new:
                raise ValueError(
                    f'the checkpoint has a queue with {name!r} of shape {tuple(old)}, '
                    f'the config one of {tuple(new)}: resume with the same '
                    'queue_size, dim and tokenizer.max_tokens'
                )
        for name in (*ROWS, 'counts'):
            getattr(self, name).copy_(state[name])
        self.held = 0


def gather_rows(rows: Tensor) -> list[Tensor]:
    """Rows of all processes, which may have different numbers of them, without gradient.

    Args:
        rows: (n, …) of this process.

    Returns:
        (n of that process, …) of each process, by rank.
    """
    rows = rows.detach().contiguous()
    if get_world_size() == 1:
        return [rows]
    counts = [int(n) for n in all_gather(torch.tensor([len(rows)], device=rows.device))]
    padding = rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])
    padded = all_gather(torch.cat([rows, padding]))
    return [part[:count] for part, count in zip(padded, counts)]
