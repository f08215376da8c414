/* SPDX-License-Identifier: MIT
 *
 * The working memory of an encode: a growing buffer, the list of pieces that lie elsewhere, and the
 * gather list made from both. Knows nothing of what the bytes mean.
 */
#include "codec_format.h"

/* A scratch buffer is kept for the next message up to this size. */
#define KEEP_BYTES ((size_t)1 << 20)
#define KEEP_ENTRIES ((size_t)1 << 14)
/* So many idle ones are kept: one for each thread that encodes at once, plus what is nested. */
#define KEEP_IDLE 8

struct rmt_scratch *rmt_scratch_take(struct rmt_py_state *st)
{
    struct rmt_py_codec *codec = &st->codec;
    struct rmt_scratch *s;

    rmt_codec_lock(codec);
    s = codec->idle;
    if (s) {
        codec->idle = s->next;
        codec->idle_count--;
    }
    rmt_codec_unlock(codec);
    if (s) {
        s->next = NULL;
        return s;
    }
    s = PyMem_Calloc(1, sizeof(*s));
    if (!s)
        PyErr_NoMemory();
    else
        s->align = 1;
    return s;
}

void rmt_scratch_free(struct rmt_scratch *s)
{
    /* The memory goes first: these can run Python code, which must not find half a scratch. */
    PyObject *sink = s->sink, *pickler = s->pickler;

    rmt_scratch_truncate(s, 0, 0);
    PyMem_Free(s->data);
    PyMem_Free(s->pieces);
    PyMem_Free(s->late);
    PyMem_Free(s->iov);
    PyMem_Free(s->refs);
    PyMem_Free(s->memo);
    PyMem_Free(s);
    Py_XDECREF(pickler);
    Py_XDECREF(sink);
}

static void shrink(struct rmt_scratch *s)
{
    if (s->capacity > KEEP_BYTES) {
        PyMem_Free(s->data);
        s->data = NULL;
        s->capacity = 0;
    }
    if (s->memo && s->memo_mask >= KEEP_ENTRIES) {
        PyMem_Free(s->memo);
        s->memo = NULL;
        s->memo_mask = 0;
    }
    if (s->pieces_capacity > KEEP_ENTRIES) {
        PyMem_Free(s->pieces);
        s->pieces = NULL;
        s->pieces_capacity = 0;
    }
    if (s->iov_capacity > KEEP_ENTRIES) {
        PyMem_Free(s->iov);
        s->iov = NULL;
        s->iov_capacity = 0;
    }
}

void rmt_scratch_give(struct rmt_py_state *st, struct rmt_scratch *s)
{
    struct rmt_py_codec *codec = &st->codec;
    bool kept;

    if (s->npieces | s->nlate)
        rmt_scratch_truncate(s, 0, 0);
    s->size = 0;
    s->nrefs = 0;
    s->align = 1;
    shrink(s);
    rmt_codec_lock(codec);
    kept = codec->idle_count < KEEP_IDLE;
    if (kept) {
        s->next = codec->idle;
        codec->idle = s;
        codec->idle_count++;
    }
    rmt_codec_unlock(codec);
    if (!kept)
        rmt_scratch_free(s);
}

/* Makes room for one more element of `size` bytes in an array. */
static int grow_array(void *array_ptr, size_t *capacity, size_t used, size_t size)
{
    size_t wanted;
    void *old, *new;

    if (used < *capacity)
        return 0;
    wanted = *capacity ? *capacity * 2 : 8;
    memcpy(&old, array_ptr, sizeof(old));
    new = wanted > PY_SSIZE_T_MAX / size ? NULL : PyMem_Realloc(old, wanted * size);
    if (!new) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(array_ptr, &new, sizeof(new));
    *capacity = wanted;
    return 0;
}

int rmt_scratch_grow(struct rmt_scratch *s, size_t n)
{
    size_t wanted = s->capacity ? s->capacity : 512;
    uint8_t *new;

    if (n > (size_t)PY_SSIZE_T_MAX - s->size) {
        PyErr_NoMemory();
        return -1;
    }
    while (wanted < s->size + n)
        wanted = wanted > PY_SSIZE_T_MAX / 2 ? (size_t)PY_SSIZE_T_MAX : wanted * 2;
    new = PyMem_Realloc(s->data, wanted);
    if (!new) {
        PyErr_NoMemory();
        return -1;
    }
    s->data = new;
    s->capacity = wanted;
    return 0;
}

int rmt_scratch_piece(struct rmt_scratch *s, const void *data, size_t size, PyObject *owner)
{
    if (size > (size_t)PY_SSIZE_T_MAX - s->outside) {
        PyErr_NoMemory();
        return -1;
    }
    if (grow_array(&s->pieces, &s->pieces_capacity, s->npieces, sizeof(*s->pieces)) < 0)
        return -1;
    s->pieces[s->npieces++] =
        (struct rmt_piece){.at = s->size, .data = data, .size = size, .owner = Py_NewRef(owner)};
    s->outside += size;
    return 0;
}

int rmt_scratch_late(struct rmt_scratch *s, const void *data, size_t size, PyObject *owner,
                     bool readonly)
{
    if (grow_array(&s->late, &s->late_capacity, s->nlate, sizeof(*s->late)) < 0)
        return -1;
    s->late[s->nlate++] = (struct rmt_piece){
        .data = data, .size = size, .owner = Py_NewRef(owner), .readonly = readonly};
    return 0;
}

int rmt_scratch_ref(struct rmt_scratch *s, uint64_t offset)
{
    if (grow_array(&s->refs, &s->refs_capacity, s->nrefs, sizeof(*s->refs)) < 0)
        return -1;
    s->refs[s->nrefs++] = offset;
    return 0;
}

int rmt_scratch_insert(struct rmt_scratch *s, size_t at, size_t n, size_t first)
{
    size_t behind = s->size - at;

    if (!rmt_scratch_add(s, n))
        return -1;
    memmove(s->data + at + n, s->data + at, behind);
    memset(s->data + at, 0, n);
    for (size_t i = first; i < s->npieces; i++)
        s->pieces[i].at += n;
    return 0;
}

int rmt_scratch_place_late(struct rmt_scratch *s)
{
    for (size_t i = 0; i < s->nlate; i++) {
        struct rmt_piece *part = &s->late[i];
        size_t pad = rmt_pad(s->size + s->outside);
        uint8_t *to = rmt_scratch_add(s, pad);
        if (!to || rmt_scratch_piece(s, part->data, part->size, part->owner) < 0)
            return -1;
        memset(to, 0, pad);
        Py_CLEAR(part->owner); /* never the last reference: the piece has one */
    }
    s->align = RMT_CODEC_ALIGN;
    return 0;
}

void rmt_scratch_truncate(struct rmt_scratch *s, size_t size, size_t npieces)
{
    s->size = size;
    /* Dropping a reference may run Python code; what it sees is consistent each time. */
    while (s->nlate > 0)
        Py_XDECREF(s->late[--s->nlate].owner);
    while (s->npieces > npieces) {
        struct rmt_piece piece = s->pieces[--s->npieces];
        s->outside -= piece.size;
        Py_DECREF(piece.owner);
    }
}

int rmt_scratch_finish(struct rmt_scratch *s, struct rmt_encoded *ret)
{
    size_t count = 0, done = 0;
    struct iovec *iov = &s->iov_single;

    if (s->npieces) {
        while (s->iov_capacity < 2 * s->npieces + 1) {
            if (grow_array(&s->iov, &s->iov_capacity, s->iov_capacity, sizeof(*s->iov)) < 0)
                return -1;
        }
        iov = s->iov;
    }
    for (size_t i = 0; i < s->npieces; i++) {
        const struct rmt_piece *piece = &s->pieces[i];
        if (piece->at > done)
            iov[count++] = (struct iovec){s->data + done, piece->at - done};
        if (piece->size)
            iov[count++] = (struct iovec){(void *)(uintptr_t)piece->data, piece->size};
        done = piece->at;
    }
    if (s->size > done)
        iov[count++] = (struct iovec){s->data + done, s->size - done};
    if (count > INT_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    *ret = (struct rmt_encoded){.iov = iov,
                                .iovcnt = (int)count,
                                .size = s->size + s->outside,
                                .align = s->align,
                                .refs = s->refs,
                                .nrefs = s->nrefs,
                                .scratch = s};
    return 0;
}
