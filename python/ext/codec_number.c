/* SPDX-License-Identifier: MIT
 *
 * The codec's ints and floats, alone and in runs, in both directions.
 */
#include "codec_format.h"

/* The value of an exact int, if 64 bits hold it. */
static inline bool get_int64(PyObject *obj, int64_t *ret)
{
    int overflow;
#if PY_VERSION_HEX >= 0x030c0000
    if (LIKELY(PyUnstable_Long_IsCompact((PyLongObject *)obj))) {
        *ret = PyUnstable_Long_CompactValue((PyLongObject *)obj);
        return true;
    }
#else
    Py_ssize_t digits = Py_SIZE(obj); /* negative for a negative number */
    if (LIKELY(digits >= -1 && digits <= 1)) {
        *ret = digits * (int64_t)((PyLongObject *)obj)->ob_digit[0];
        return true;
    }
    if (digits == 2 || digits == -2) {
        const digit *d = ((PyLongObject *)obj)->ob_digit;
        int64_t size = (int64_t)d[1] << PyLong_SHIFT | d[0];
        *ret = digits < 0 ? -size : size;
        return true;
    }
#endif
    *ret = PyLong_AsLongLongAndOverflow(obj, &overflow);
    return !overflow;
}

/* Bytes, of 1, 2, 4 and 8, that every number from low to high fits in. */
static inline int width_of(int64_t low, int64_t high)
{
    if (low >= INT8_MIN && high <= INT8_MAX)
        return 1;
    if (low >= INT16_MIN && high <= INT16_MAX)
        return 2;
    return low >= INT32_MIN && high <= INT32_MAX ? 4 : 8;
}

int rmt_width_tag(int tag_of_1, int width)
{
    return tag_of_1 + (width > 1) + (width > 2) + (width > 4);
}

static int encode_big_int(struct rmt_scratch *s, PyObject *obj)
{
    uint8_t *to;
#if PY_VERSION_HEX >= 0x030d0000
    Py_ssize_t n = PyLong_AsNativeBytes(obj, NULL, 0, Py_ASNATIVEBYTES_NATIVE_ENDIAN);
    if (n < 0)
        return -1;
#else
    size_t bits = _PyLong_NumBits(obj);
    size_t n = bits / 8 + 1; /* room for the sign */
    if (bits == (size_t)-1 && PyErr_Occurred())
        return -1;
#endif
    if (rmt_put_head(s, TAG_INT_BIG, (size_t)n) < 0 || !(to = rmt_scratch_add(s, (size_t)n)))
        return -1;
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_AsNativeBytes(obj, to, n, Py_ASNATIVEBYTES_NATIVE_ENDIAN) < 0 ? -1 : 0;
#else
    return _PyLong_AsByteArray((PyLongObject *)obj, to, n, PY_LITTLE_ENDIAN, 1);
#endif
}

static inline void write_number(uint8_t *to, int64_t value, int width)
{
    switch (width) {
    case 1:
        *to = (uint8_t)value;
        break;
    case 2:
        memcpy(to, &(int16_t){(int16_t)value}, 2);
        break;
    case 4:
        memcpy(to, &(int32_t){(int32_t)value}, 4);
        break;
    default:
        memcpy(to, &value, 8);
    }
}

static inline void write_int(uint8_t *to, int64_t value, int width)
{
    *to = (uint8_t)rmt_width_tag(TAG_INT1, width);
    write_number(to + 1, value, width);
}

int rmt_encode_int(struct rmt_scratch *s, PyObject *obj)
{
    int64_t value;
    uint8_t *to;
    int width;

    if (UNLIKELY(!get_int64(obj, &value)))
        return encode_big_int(s, obj);
    width = width_of(value, value);
    to = rmt_scratch_add(s, 1 + (size_t)width);
    if (UNLIKELY(!to))
        return -1;
    write_int(to, value, width);
    return 0;
}

size_t rmt_encode_small(PyObject *obj, uint8_t to[RMT_SMALL_BYTES])
{
    int64_t value;

    if (PyLong_CheckExact(obj)) {
        if (!get_int64(obj, &value))
            return 0;
        int width = width_of(value, value);
        write_int(to, value, width);
        return 1 + (size_t)width;
    }
    if (PyFloat_CheckExact(obj)) {
        *to = TAG_FLOAT;
        memcpy(to + 1, &((PyFloatObject *)obj)->ob_fval, 8);
        return 9;
    }
    *to = obj == Py_None ? TAG_NONE : obj == Py_True ? TAG_TRUE : TAG_FALSE;
    return obj == Py_None || PyBool_Check(obj);
}

int rmt_encode_float(struct rmt_scratch *s, PyObject *obj)
{
    uint8_t *to = rmt_scratch_add(s, 9);
    if (UNLIKELY(!to))
        return -1;
    *to = TAG_FLOAT;
    memcpy(to + 1, &((PyFloatObject *)obj)->ob_fval, 8); /* the bits, whatever NaN they are */
    return 0;
}

size_t rmt_run_length(PyObject *const *items, size_t n, int *ret_width, bool *ret_floats)
{
    size_t i = 0;

    *ret_floats = n && PyFloat_CheckExact(items[0]);
    if (*ret_floats) {
        *ret_width = 8;
        while (i < n && PyFloat_CheckExact(items[i]))
            i++;
    } else {
        int64_t low = 0, high = 0, value;
        while (i < n && PyLong_CheckExact(items[i]) && get_int64(items[i], &value)) {
            low = value < low ? value : low;
            high = value > high ? value : high;
            i++;
        }
        *ret_width = width_of(low, high);
    }
    return i;
}

void rmt_run_write(uint8_t *to, PyObject *const *items, size_t n, int width, bool floats)
{
    if (floats) {
        for (size_t i = 0; i < n; i++)
            memcpy(to + 8 * i, &((PyFloatObject *)items[i])->ob_fval, 8);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t value = 0;
        get_int64(items[i], &value);
        write_number(to + (size_t)width * i, value, width);
    }
}

int rmt_range_width(int64_t first, int64_t last)
{
    return width_of(first < last ? first : last, first < last ? last : first);
}

void rmt_range_write(uint8_t *to, int64_t first, int64_t step, size_t n, int width)
{
    for (size_t i = 0; i < n; i++)
        write_number(to + (size_t)width * i, first + (int64_t)i * step, width);
}

PyObject *rmt_run_item(const uint8_t *at, int width, bool floats)
{
    int16_t i2;
    int32_t i4;
    int64_t i8;
    double f;

    switch (width) {
    case 1:
        return PyLong_FromLong((int8_t)*at);
    case 2:
        memcpy(&i2, at, 2);
        return PyLong_FromLong(i2);
    case 4:
        memcpy(&i4, at, 4);
        return PyLong_FromLong(i4);
    }
    if (floats) {
        memcpy(&f, at, 8);
        return PyFloat_FromDouble(f);
    }
    memcpy(&i8, at, 8);
    return PyLong_FromLongLong(i8);
}
