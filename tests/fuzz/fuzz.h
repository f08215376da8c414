/* SPDX-License-Identifier: MIT
 *
 * fuzz.h: what the fuzz targets share: input taken piece by piece, and what must hold.  A target is
 * a program by libFuzzer: LLVMFuzzerTestOneInput runs once per input, in one process.
 */
#ifndef RAMET_FUZZ_H
#define RAMET_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Reads all of it: AddressSanitizer, or the machine, says if it may not be. */
static inline void read_all(const uint8_t *data, size_t size)
{
    static volatile uint8_t sink;
    for (size_t i = 0; i < size; i++)
        sink = data[i];
    (void)sink;
}

struct input {
    const uint8_t *data;
    size_t size;
};

/* The next `size` bytes, with zeros where the input has ended. */
static inline void take(struct input *in, void *to, size_t size)
{
    size_t n = size < in->size ? size : in->size;
    memset(to, 0, size);
    if (n > 0)
        memcpy(to, in->data, n);
    in->data += n;
    in->size -= n;
}

static inline uint8_t take_byte(struct input *in)
{
    uint8_t byte;
    take(in, &byte, 1);
    return byte;
}

static inline uint64_t take_word(struct input *in)
{
    uint64_t word;
    take(in, &word, sizeof word);
    return word;
}

#endif
