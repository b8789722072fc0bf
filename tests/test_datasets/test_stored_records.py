"""Files of records: what is stored comes back, or is known to be damaged."""

from pathlib import Path

import numpy as np
import pytest

from fiber_mmdet.datasets.stored_records import (
    CannotStore,
    DamagedRecords,
    RecordFile,
    RecordWriter,
    StoredRecords,
)

pytest.importorskip('pyarrow', reason='records need pyarrow')
pytest.importorskip('msgpack', reason='records need msgpack')


def test_any_changed_byte_is_noticed(tmp_path):
    file, records = tmp_path / 'some.arrow', [dict(a=i, b='x' * (i % 40)) for i in range(5000)]
    with RecordWriter(file, dict(classes=('a', 'b'))) as writer:
        writer.extend(records)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(whole), size=40):
        changed = bytearray(whole)
        changed[place] ^= 1 + int(rng.integers(255))
        file.write_bytes(changed)
        try:
            found = RecordFile(file)
            same = list(StoredRecords(found)) == records
            assert same and found.header == dict(classes=('a', 'b'))
        except DamagedRecords as error:
            assert str(file) in str(error)


@pytest.mark.parametrize(
    'value', [10**30, np.float64(1), object(), np.array([object()]), {'a': [Path('x')]}]
)
def test_only_plain_data_is_stored(value, tmp_path):
    with pytest.raises(CannotStore), RecordWriter(tmp_path / 'some.arrow', {}) as writer:
        writer.extend([value])


def test_what_is_stored_comes_back(tmp_path):
    records = [
        (1, 'é\udcff', ['a', (2.5, None, True)]),
        {'x': {1, 2}, 3: frozenset('a'), 'bytes': b'\x00', 'nan': float('inf')},
        -(2**63),
        dict(same=[dict(a=1, b=(2,)), dict(a=3, b=None)], order=[dict(a=1, b=2), dict(b=3, a=4)]),
        dict(one=[{}], none=[], mixed=[dict(a=1), [2]], deep=[[dict(a=[dict(b=1), dict(b=2)])]]),
        dict(array=np.arange(6, dtype=np.int32).reshape(2, 3)),
    ]
    with RecordWriter(tmp_path / 'some.arrow', {}) as writer:
        writer.extend(records)
    assert repr(list(StoredRecords(RecordFile(tmp_path / 'some.arrow')))) == repr(records)
