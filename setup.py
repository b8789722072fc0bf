import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
README = HERE / 'README.md'

setup(
    name='fiber_mmdet',
    version=re.search(
        r"__version__ = '(.+)'", (HERE / 'fiber_mmdet/version.py').read_text(encoding='utf-8')
    ).group(1),
    description='FIBER, a coarse-to-fine vision-language detector, as a plugin for MMDetection 3.x',
    long_description=README.read_text(encoding='utf-8') if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_namespace_packages(
        include=['fiber_mmdet', 'fiber_mmdet.*', 'fiber_scenes'], exclude=['fiber_mmdet.assets*']
    ),
    # .mim holds links to configs/ and tools/; a wheel gets the files behind them.
    package_data={'fiber_mmdet': ['assets/**/*', '.mim/**/*']},
    exclude_package_data={'fiber_mmdet': ['**/__pycache__/*', '**/*.pyc']},
    # mmengine, mmcv and mmdet come from one of two families that share their folders, which pip cannot express:
    # the extras below name the families, and fiber_mmdet.host checks at import. mmcv is in neither, because pip
    # would build it without its operators (see INSTALL.md).
    install_requires=[
        'torch>=2.6',
        'numpy>=1.24,<3',
        'transformers>=4.40,<6',
        'pycocotools>=2.0.6,<3',
        'pillow>=9.5',
        'matplotlib>=3.7,<4',
        'nltk>=3.8,<4',
        'tqdm>=4.60,<5',
        'packaging>=22',
    ],
    extras_require={
        'onedl': ['onedl-mmengine>=0.10.12,<0.11', 'onedl-mmdetection>=3.5.1,<4'],
        'openmmlab': ['mmengine>=0.10.7', 'mmdet>=3.3,<4', 'setuptools<82'],
        'lvis': ['lvis>=0.5.3'],
        # CIDEr, BLEU and others as published, a wheel of 100 MB; running them needs Java
        'captions': ['pycocoevalcap>=1.2'],
        'd3': ['ddd-dataset>=0.1.2'],  # the toolkit of D³, for non-commercial use (CC BY-NC 4.0)
        'test': ['pytest>=7', 'lvis>=0.5.3'],
    },
)
