/* SPDX-License-Identifier: MIT
 *
 * The codec: Python objects to messages and back.
 *
 * A message is a contiguous run of bytes that any process of the family can decode, wherever it is
 * mapped. None, bool, int, float, str, bytes, range, and tuples, lists and dicts of those are
 * encoded directly; everything else is pickle protocol 5 with the reducers that are registered on
 * multiprocessing's ForkingPickler and with its buffers out of band. Identity and sharing inside
 * one message are as with pickle.
 *
 * Encoding gives a gather list: what is small lies in a scratch buffer, what is large is pointed to
 * where the object has it, so that the caller makes the only copy, into the arena. All functions
 * need an attached thread state (the GIL); rmt_encoded_copy may run without, while the encoded is
 * held.
 *
 * The format (codec_format.h) is private to one build on one machine: native byte order, no
 * version.
 */
#ifndef RMT_PY_CODEC_H
#define RMT_PY_CODEC_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct rmt_py_state;
struct rmt_scratch;

/* Start of a message that has large parts: they are aligned to this relative to its start. */
#define RMT_CODEC_ALIGN 64

/* From this size on, the data of a bytes, str or buffer is a piece of its own. */
#define RMT_CODEC_LARGE 4096

/* Slots for recent keys of dicts; a power of 2. */
#define RMT_CODEC_KEYS 256

/*
 * The codec's part of the module state: what the pickle path has imported, and scratch buffers that
 * wait for their next use. All is changed only while holding the GIL or, in a free-threaded build,
 * `mutex`; the imported objects are written once, by the first message that needs pickle.
 */
struct rmt_py_codec {
    struct rmt_scratch *idle;
    int idle_count;
#ifdef Py_GIL_DISABLED
    PyMutex mutex;
#endif
    PyObject *pickler_type;  /* _pickle.Pickler */
    PyObject *loads;         /* _pickle.loads */
    PyObject *forking_table; /* the dict of ForkingPickler.register */
    PyObject *copyreg_table; /* copyreg.dispatch_table */
    PyObject *forking_seen;  /* copies of the two, as of when `reducers` was made from them */
    PyObject *copyreg_seen;
    PyObject *reducers; /* both in one dict, ForkingPickler's first */
    PyObject *str_dump, *str_clear_memo, *str_dispatch_table, *str_release;
    PyObject *kw_buffers; /* ("buffers",) */
#ifndef Py_GIL_DISABLED
    /* The last short str that was decoded as a key of a dict, by a hash of its text; see read_key.
     */
    PyObject *keys[RMT_CODEC_KEYS];
#endif
};

/*
 * A message that was encoded and not yet written. Valid until rmt_encoded_release; a reference to
 * each object that `iov` points into is held till then.
 */
struct rmt_encoded {
    const struct iovec *iov; /* the parts of the message, in order, none of them empty */
    int iovcnt;              /* 1 for everything small */
    size_t size;             /* sum of the parts */
    size_t align;            /* what the start of the message must be aligned to: 1 or 64 */
    const uint64_t *refs;    /* arena objects that the message mentions, once per mention */
    size_t nrefs;
    struct rmt_scratch *scratch;
};

/*
 * Encodes `obj`. 0, or -1 with the exception that pickling raised (or MemoryError); nothing is left
 * behind then and *ret is untouched. May run any Python code, and may be entered again from it.
 */
int rmt_encode(struct rmt_py_state *st, PyObject *obj, struct rmt_encoded *ret);

/*
 * Encodes `n` objects as one chunk (n may be 0). Each is independent of the others: rmt_items_next
 * decodes them one by one. Runs of only ints or only floats are packed.
 */
int rmt_encode_many(struct rmt_py_state *st, PyObject *const *items, size_t n,
                    struct rmt_encoded *ret);

/*
 * The same chunk as of the n > 0 ints first, first + step, ..., which all are in 64 bits.
 */
int rmt_encode_range(struct rmt_py_state *st, int64_t first, int64_t step, size_t n,
                     struct rmt_encoded *ret);

/* Writes the whole message to `to`, which has room for `size` bytes and is aligned to `align`. */
void rmt_encoded_copy(const struct rmt_encoded *enc, void *to);

/* Gives everything back. Leaves the current exception alone. */
void rmt_encoded_release(struct rmt_py_state *st, struct rmt_encoded *enc);

/*
 * Called while an arena object (a queue, a lock, ...) is pickled: notes that the message which this
 * thread is encoding mentions it. 0 if noted, 1 if this thread encodes nothing (a plain
 * pickle.dumps), -1 with MemoryError.
 */
int rmt_encode_add_ref(struct rmt_py_state *st, uint64_t offset);

/*
 * Makes the object through which an out-of-band buffer of `size` bytes at `data`, in the message,
 * is seen by what was pickled; `readonly` says whether its sender's was. A new reference to any
 * object that offers the buffer protocol; NULL with an exception to fail; NULL without one to have
 * the bytes copied out by the codec.
 */
typedef PyObject *(*rmt_buffer_fn)(void *arg, const uint8_t *data, size_t size, int readonly);

/*
 * Decodes the message of exactly `size` bytes at `data`, which must not change during the call. No
 * `make_buffer` means that all is copied out, and nothing refers to `data` when this returns. What
 * is not a message raises ValueError or EOFError and never reads outside it; only the part that is
 * pickle is as dangerous as pickle is.
 */
PyObject *rmt_decode(struct rmt_py_state *st, const uint8_t *data, size_t size,
                     rmt_buffer_fn make_buffer, void *arg);

/* Where one reads in a chunk; plain memory, to be copied and dropped at will. */
struct rmt_items {
    const uint8_t *data;
    size_t size;
    size_t at;           /* offset of the next item */
    size_t index;        /* number of the next item */
    size_t count;        /* number of items; SIZE_MAX in a pack: as many as its bytes hold */
    uint8_t kind, width; /* private */
};

/* Starts to read a chunk of rmt_encode_many. 0, or -1 with an exception if it is not one. */
int rmt_items_open(const uint8_t *data, size_t size, struct rmt_items *ret);

/* Passes over the next `n` items without decoding them. 0, or -1 with an exception. */
int rmt_items_skip(struct rmt_items *items, size_t n);

/*
 * The next item, NULL without an exception after the last, NULL with one if it cannot be decoded;
 * the one after it can be read all the same.
 */
PyObject *rmt_decode_next(struct rmt_py_state *st, struct rmt_items *items,
                          rmt_buffer_fn make_buffer, void *arg);

/*
 * A pack: messages written one after the other into one piece of memory by a writer that may die at
 * any time. The first `used` bytes are complete items at every return of rmt_pack_append, whatever
 * lies behind them; who shares the pack stores `used` elsewhere, with a release, after each append.
 */
struct rmt_pack {
    uint8_t *data; /* aligned to RMT_CODEC_ALIGN */
    size_t capacity;
    size_t used;
};

/* The value of `used` after `enc` was appended to a pack of `used` bytes. */
size_t rmt_pack_room(size_t used, const struct rmt_encoded *enc);

/* Appends. 0, or -ENOSPC if rmt_pack_room is more than the capacity; the pack is unchanged then. */
int rmt_pack_append(struct rmt_pack *pack, const struct rmt_encoded *enc);

/* What would be appended to a pack for an object that is None, a bool, a float or an int of 64
 * bits: how many bytes of `to` it is. 0: another object, and `to` says nothing. No Python code
 * runs. */
#define RMT_PACK_SMALL 24
size_t rmt_pack_small(PyObject *obj, uint8_t to[RMT_PACK_SMALL]);

/* Starts to read the first `used` bytes of a pack, with rmt_items_skip and rmt_decode_next. */
void rmt_pack_open(const uint8_t *data, size_t used, struct rmt_items *ret);

/* For the module's traverse and clear. */
int rmt_py_codec_traverse(struct rmt_py_codec *codec, visitproc visit, void *arg);
void rmt_py_codec_clear(struct rmt_py_codec *codec);

#endif
