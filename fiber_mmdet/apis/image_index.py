"""Millions of images to search in, encoded once and kept on disk."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fiber_mmdet.models.image_text.heads import ITCHead, ITMHead
from fiber_mmdet.models.image_text.retrieval import Retriever
from fiber_mmdet.search.index_files import (
    DTYPES,
    MANIFEST,
    UNREADABLE,
    ImageIndexError,
    IndexedFile,
    IndexFiles,
    IndexManifest,
)
from fiber_mmdet.search.index_writer import IndexWriter
from fiber_mmdet.search.nearest import KINDS, faiss

from .image_collection import CANDIDATES, Hit
from .image_text_loading import head_of, need_head
from .image_text_running import ImageTextRunner
from .index_building import Changes, update_index, writing_alone
from .index_matching import CandidateMatcher
from .index_model import prefixes_made_with, refuse_other_index, what_makes_features
from .indexed_images import common_folder, image_files, image_places, state_of
from .inputs import ImageLike, OneOrMore, list_texts

logger = logging.getLogger(__name__)

RERANK = 16  # candidates that a search matches, if the model can
TEXTS = 16  # whose candidates are matched together
AUTO = 'auto'
SHOWN = 20  # images that cannot be read, in the log


class ImageIndex:
    """Images to search in, as :class:`~fiber_mmdet.apis.ImageCollection`, but kept in a folder.

    .. code-block:: python

        ask = ImageTextInferencer('fiber-b-itc')
        index = ImageIndex.build('photos.index', ask, 'photos')  # once; goes on if it was killed
        index = ImageIndex.open('photos.index', ask)             # later, in a moment
        index.search('a dog on a beach', k=10)
        index.add('more_photos')                                 # and what has changed in all

    The features lie in parts that are mapped into memory, not read. Neighbours are found by
    comparing all of them, or by an index of FAISS once there are many, see
    :mod:`fiber_mmdet.search.nearest`. Cosines are those of :class:`ImageCollection`, since they are
    computed from the features whatever found the images. What ``rerank`` needs, the prefixes of the
    nearest, comes from the folder, if they were kept, or from the image files.

    Args:
        files: the open files.
        ask: with the model that made them.
        check_files: leave out images whose file is gone or has changed, and say so.
        root: where the images lie now, see :meth:`open`.

    Raises:
        MissingHead: the model has no ITC head.
        ImageIndexError: another model made the index.
    """

    def __init__(
        self,
        files: IndexFiles,
        ask: ImageTextRunner,
        check_files: bool = True,
        root: str | Path | None = None,
    ) -> None:
        need_head(ask.model, ITCHead, 'an index of images')
        refuse_other_index(str(files.folder), files.manifest, ask)
        self.files, self.ask, self.check_files = files, ask, check_files
        self.root = Path(files.manifest.root if root is None else root).expanduser().absolute()
        self.changes = Changes(total=files.found)  # of the latest call
        self._matcher = CandidateMatcher(files, ask, self.root)
        self._said: set[int] = set()

    # ------------------------------------------------------------ making one
    @classmethod
    def build(
        cls,
        folder: str | Path,
        ask: ImageTextRunner,
        images: OneOrMore[ImageLike],
        recursive: bool = False,
        kind: str = AUTO,
        dtype: str = 'float32',
        keep_prefixes: str | None = None,
        workers: int = 0,
    ) -> 'ImageIndex':
        """Encode images into a new index, or go on with one that was interrupted.

        Args:
            folder: of the index: empty, not there, or with an index of the same model, which is
                brought up to date as by :meth:`add`.
            ask: the model; its ``batch_size`` images are encoded at a time.
            images: image files and folders.
            recursive: also the images in subfolders.
            kind: what finds neighbours: 'exact', 'ivf' or 'hnsw', or 'auto' by the number of
                images, see :func:`~fiber_mmdet.search.nearest.kind_for`.
            dtype: of the features: 'float32', or 'float16', which takes half the room and moves
                cosines by less than 0.0005.
            keep_prefixes: 'float32' or 'float16': also keep what ``rerank`` needs, instead of
                reading images again for it; 1.2 MB an image of 384 pixels in float32.
            workers: processes that read images.

        Raises:
            MissingHead: the model has no ITC head.
            MissingExtra: FAISS is not installed.
            FileNotFoundError, ImageError: no images there.
            ImageIndexError: the folder has something else, or an index of another model or of
                other options; or it cannot be written.
            ValueError: an unknown kind or dtype.
        """
        _need_one_of(kind=(kind, (AUTO, *KINDS)), dtype=(dtype, DTYPES))
        _need_one_of(keep_prefixes=(keep_prefixes, (None, *DTYPES)))
        need_head(ask.model, ITCHead, 'an index of images')
        faiss()  # not after hours of work
        folder = Path(folder).expanduser()
        places = image_places(images)
        paths = list(image_files(places, recursive))
        with writing_alone(folder):
            if (folder / MANIFEST).is_file():
                index = cls(IndexFiles(folder), ask)
                index._same_options(kind, dtype, keep_prefixes)
            else:
                made_with, transforms = what_makes_features(ask)
                new = IndexManifest(
                    made_with=made_with,
                    prefixes_made_with=prefixes_made_with(ask),
                    source=str(ask.weights),
                    transforms=transforms,
                    root=common_folder(places),
                    dim=ask.model.dim,
                    dtype=dtype,
                    prefixes=keep_prefixes,
                    kind=kind,
                )
                index = cls(IndexWriter(folder, new).files, ask)
            index._update(paths, workers)
        return index

    def _same_options(self, kind: str, dtype: str, keep_prefixes: str | None) -> None:
        """Go on with the options that an index was made with; its kind may change.

        Raises:
            ImageIndexError: others differ.
        """
        there = self.files.manifest
        for name, was, now in (
            ('dtype', there.dtype, dtype),
            ('keep_prefixes', there.prefixes, keep_prefixes),
        ):
            if was != now:
                raise ImageIndexError(
                    f'{self.files.folder} is an index with {name}={was}, not {now}: leave that '
                    'option as it was, or make another index in another folder'
                )
        if there.kind != kind:
            IndexWriter(self.files.folder).mark(there.finished, kind=kind)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        ask: ImageTextRunner,
        root: str | Path | None = None,
        check_files: bool = True,
    ) -> 'ImageIndex':
        """Open an index.

        Args:
            folder: of the index.
            ask: the model that made it.
            root: where the images lie now that were in the folder, or the common folder, that
                the index was built of.
            check_files: leave out images whose file is gone or has changed, and say so. Otherwise
                files are not looked at, and only kept prefixes can be re-ranked without them.

        Raises:
            MissingHead: the model has no ITC head.
            MissingExtra: FAISS is not installed.
            ImageIndexError: no index, a damaged one, or one that another model made.
        """
        faiss()
        files = IndexFiles(Path(folder).expanduser())
        index = cls(files, ask, check_files, root)
        if not files.manifest.finished:
            logger.warning(
                '%s was interrupted while images were added: %d can be found. The same `fiber '
                'index` command goes on with the others',
                files.folder,
                len(index),
            )
        return index

    def add(
        self, images: OneOrMore[ImageLike] = (), recursive: bool = False, workers: int = 0
    ) -> Changes:
        """Add images, and bring those that are there up to date with their files.

        Files that have changed are encoded again; those that are gone, or cannot be read any more,
        are not found from now on.

        Args:
            images: image files and folders; those that are there already are not encoded again.
            recursive: also the images in subfolders.
            workers: processes that read images.

        Returns:
            What was done.

        Raises:
            FileNotFoundError, ImageError: no images there.
            ImageIndexError: the index cannot be written, or another process writes to it.
        """
        places = image_places(images) if images else []
        return self._update(list(image_files(places, recursive)), workers)

    def _update(self, paths: Sequence[Path], workers: int) -> Changes:
        with writing_alone(self.files.folder):
            writer = IndexWriter(self.files.folder)
            if writer.manifest.root != str(self.root):
                writer.mark(writer.manifest.finished, root=str(self.root))
            changes = update_index(writer, self.ask, paths, workers, self.check_files)
        self.files = IndexFiles(self.files.folder)
        self._matcher = CandidateMatcher(self.files, self.ask, self.root)
        self.changes = changes
        if changes.unreadable:
            shown = [
                why if name in why else f'{name}: {why}'
                for name, why in list(changes.unreadable.items())[:SHOWN]
            ]
            logger.warning(
                '%d images cannot be read and are not in the index:\n  %s%s',
                len(changes.unreadable),
                '\n  '.join(shown),
                f'\n  … all are in {self.files.folder / UNREADABLE}'
                * (len(changes.unreadable) > SHOWN),
            )
        return changes

    def __len__(self) -> int:
        """Number of images that can be found."""
        return self.files.found

    @property
    def unreadable(self) -> dict[str, str]:
        """Images that could not be read, and why."""
        return {str(self.root / name): found[2] for name, found in self.files.unreadable().items()}

    # --------------------------------------------------------------- searching
    def search(
        self, text: OneOrMore[str], k: int = 5, rerank: int | None = None, effort: float = 1.0
    ) -> OneOrMore[list[Hit]]:
        """Find the images that a text describes.

        Args:
            text: a text, or a list.
            k: how many to return, best first.
            rerank: how many of the nearest by contrast (ITC) are matched (ITM) and ordered by that,
                at least ``k``; 0 leaves the order of contrast; None: 16 if the model has an ITM
                head, else 0.
            effort: how much further to look for neighbours than usual; ``math.inf`` compares all.

        Returns:
            Up to ``k`` hits, whose ``index`` is the row of the image in the index and whose
            ``item`` is its path; a list of these for a list of texts.

        Raises:
            MissingHead: ``rerank`` of a model without an ITM head.
            ImageIndexError: a damaged index.
        """
        texts, single = list_texts(text)
        if rerank is None:
            rerank = RERANK if head_of(self.ask.model, ITMHead) is not None else 0
        found = self._search(texts, k, max(rerank, k) if rerank else 0, effort)
        return found[0] if single else found

    def retrieve(
        self, texts: Sequence[str], k: int, rerank: bool, candidates: int | None = None
    ) -> list[list[Hit]]:
        """The same in the words of :meth:`ImageTextInferencer.retrieve`.

        Raises:
            MissingHead: ``rerank`` of a model without an ITM head.
            ImageIndexError: a damaged index.
        """
        return self._search(texts, k, (candidates or CANDIDATES * k) if rerank else 0)

    def _search(
        self, texts: Sequence[str], k: int, matched: int, effort: float = 1.0
    ) -> list[list[Hit]]:
        if k < 1 or not effort > 0:
            raise ValueError(f'k={k} and effort={effort} have to be larger than 0')
        if matched:
            need_head(self.ask.model, ITMHead, 'rerank')
        found: list[list[Hit]] = []
        for begin in range(0, len(texts), TEXTS):
            group = texts[begin : begin + TEXTS]
            retriever = Retriever(self.ask.model, keep_prefixes=bool(matched))
            retriever.add_texts(group)
            near = self._near(retriever.text_features.cpu().numpy(), matched or k, effort)
            if matched:
                near = self._matcher.match(retriever, near)
            found += [hits[:k] for hits in near]
        return found

    def _near(self, queries: np.ndarray, count: int, effort: float) -> list[list[Hit]]:
        """The nearest of each query by contrast whose files are as they were."""
        if not len(self) or not self._root_is_there():
            return [[] for _ in queries]
        nearest, total = self.files.nearest(), len(self.files)
        wanted = min(count + min(len(self.files.removed), count), total)
        while True:
            cosines, rows = nearest.search(queries, wanted, effort)
            removed = self.files.is_removed(rows) | (rows < 0)
            found = []
            for query in range(len(queries)):
                hits: list[Hit] = []
                for cosine, row in zip(
                    cosines[query, ~removed[query]].tolist(), rows[query, ~removed[query]].tolist()
                ):
                    if len(hits) == count:
                        break
                    file = self.files.file(row)
                    if not self.check_files or self._is_there(row, file):
                        hits.append(Hit(row, self.root / file.name, cosine, None))
                found.append(hits)
            if wanted == total or min(map(len, found)) == count:
                return found
            wanted = min(2 * wanted, total)

    def _root_is_there(self) -> bool:
        """Whether the folder of the images is there, if files are looked at; else a line says so.

        (Otherwise each of the images would be found to be gone.)
        """
        there = not self.check_files or self.root.is_dir()
        if not there:
            logger.warning(
                '%s, where the images of %s lie, is not there, so that nothing is found: mount its '
                'disk, or say where they are (ImageIndex.open(…, root=…))',
                self.root,
                self.files.folder,
            )
        return there

    def _is_there(self, row: int, file: IndexedFile) -> bool:
        """Whether the file of a row is as it was; otherwise the log says so, once."""
        state = state_of(self.root / file.name, file)
        if state and row not in self._said:
            self._said.add(row)
            logger.warning(
                '%s %s since it was indexed, and is left out: `fiber index` (ImageIndex.add) '
                'brings the index up to date',
                self.root / file.name,
                'is gone' if state == 'gone' else 'has changed',
            )
        return not state


def _need_one_of(**values: tuple) -> None:
    """Refuse what is none of the known values.

    Raises:
        ValueError: naming the argument.
    """
    for name, (value, known) in values.items():
        if value not in known:
            raise ValueError(f'{name}={value!r} must be one of {", ".join(map(repr, known))}')
