/* SPDX-License-Identifier: MIT
 *
 * png.h: a picture of grey bytes as a PNG file, uncompressed, for 12_mandelbrot.c.
 *
 * The format: PNG (ISO/IEC 15948) is a signature and chunks {length, type, data, CRC-32 of type and
 * data}; the data of IDAT is a zlib stream (RFC 1950) whose deflate blocks (RFC 1951) may be
 * "stored", as they are.  Each row begins with the number of its filter, 0.
 */
#ifndef RAMET_EXAMPLE_PNG_H
#define RAMET_EXAMPLE_PNG_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t png_crc(const unsigned char *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static inline void png_put32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

static inline uint32_t png_get32(const unsigned char *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* Closes the chunk of `size` bytes of data at `chunk`; returns the end. */
static inline unsigned char *png_chunk(unsigned char *chunk, const char type[4], uint32_t size)
{
    png_put32(chunk, size);
    memcpy(chunk + 4, type, 4);
    png_put32(chunk + 8 + size, png_crc(chunk + 4, size + 4));
    return chunk + 12 + size;
}

/* Each row is a stored block: a header of 5 bytes, the filter and the pixels. */
#define PNG_ROW(width) (5u + 1u + (width))
#define PNG_FIRST_ROW (8u + 25u + 8u + 2u) /* where it begins: signature, IHDR, IDAT, zlib */
#define PNG_SIZE(width, height) (PNG_FIRST_ROW + PNG_ROW(width) * (height) + 4u + 4u + 12u)

/* `file` has room for PNG_SIZE(width, height) bytes; width is less than 65535. */
static inline void png_encode(const unsigned char *pixels, uint32_t width, uint32_t height,
                              unsigned char *file)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char grey[5] = {8, 0, 0, 0, 0}; /* bits, colours, and the usual rest */
    memcpy(file, signature, 8);
    png_put32(file + 16, width);
    png_put32(file + 20, height);
    memcpy(file + 24, grey, 5);
    unsigned char *idat = png_chunk(file + 8, "IHDR", 13), *to = idat + 8;
    *to++ = 0x78;
    *to++ = 0x01;
    uint32_t a = 1, b = 0; /* Adler-32 of the rows */
    for (uint32_t y = 0; y < height; y++) {
        uint32_t length = width + 1;
        *to++ = y + 1 == height; /* the last block */
        *to++ = (unsigned char)length;
        *to++ = (unsigned char)(length >> 8);
        *to++ = (unsigned char)~length;
        *to++ = (unsigned char)(~length >> 8);
        *to = 0;
        memcpy(to + 1, pixels + (size_t)y * width, width);
        for (uint32_t i = 0; i < length; i++) {
            a = (a + *to++) % 65521;
            b = (b + a) % 65521;
        }
    }
    png_put32(to, b << 16 | a);
    png_chunk(png_chunk(idat, "IDAT", (uint32_t)(to + 4 - idat - 8)), "IEND", 0);
}

#endif
