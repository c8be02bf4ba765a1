# SPDX-License-Identifier: MIT
"""ctypes: the process's own malloc family called by name, callbacks, and memory that crosses between C and Python."""
import ctypes
import hashlib

c = ctypes.CDLL(None)
c.malloc.restype = c.calloc.restype = c.realloc.restype = c.strdup.restype = ctypes.c_void_p
c.malloc.argtypes = [ctypes.c_size_t]
c.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
c.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
c.free.argtypes = [ctypes.c_void_p]
c.strdup.argtypes = [ctypes.c_char_p]
c.malloc_usable_size.restype = ctypes.c_size_t
c.malloc_usable_size.argtypes = [ctypes.c_void_p]

blocks = {}
for i in range(20000):
    size = i * 37 % 1400
    slot = i * 101 % 3000
    if slot in blocks:
        address, old, fill = blocks.pop(slot)
        assert ctypes.string_at(address, old) == bytes([fill]) * old
        if i % 3:
            address = c.realloc(address, size + 1)
            assert ctypes.string_at(address, min(old, size + 1)) == bytes([fill]) * min(old, size + 1)
        else:
            c.free(address)
            address = c.calloc(size + 1, 1)
            assert ctypes.string_at(address, size + 1) == bytes(size + 1)
    else:
        address = c.malloc(size + 1)
    assert address % 8 == 0 and c.malloc_usable_size(address) >= size + 1
    ctypes.memset(address, i % 256, size + 1)
    blocks[slot] = address, size + 1, i % 256
for address, size, fill in blocks.values():
    assert ctypes.string_at(address, size) == bytes([fill]) * size
    c.free(address)
print("malloc family", len(blocks))

copies = [c.strdup(b"%d" % i * (i % 90 + 1)) for i in range(5000)]
print("strdup", hashlib.sha256(b"".join(ctypes.string_at(copy) for copy in copies)).hexdigest())
for copy in copies:
    c.free(copy)

COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 5000)(*((i * 7919) % 5003 for i in range(5000)))
c.qsort(numbers, len(numbers), ctypes.sizeof(ctypes.c_int), COMPARE(lambda a, b: a[0] - b[0]))
print("qsort", list(numbers) == sorted(numbers), numbers[0], numbers[-1])


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_longdouble), ("name", ctypes.c_char * 20)]


points = [Point(i / 3, i / 7, b"p%d" % i) for i in range(5000)]
array = (Point * 300)(*points[:300])
print("points", sum(point.x + point.y for point in points), array[299].name, bytes(array[7].name))
