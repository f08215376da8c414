/* SPDX-License-Identifier: MIT
 *
 * 12_mandelbrot.c: a pool paints the Mandelbrot set, one row an item, and the program writes it as
 * a PNG file.
 *
 *     12_mandelbrot [fork|spawn|forkserver [FILE.png]]
 *
 * The rows cost very different times: nobody has to divide them among the workers beforehand, since
 * an idle worker takes the next ones.  Without a file it writes a temporary one, and looks at it.
 */
#include "example.h"
#include "png.h"

#include <unistd.h>

#define WIDTH 480
#define HEIGHT 320
#define STEPS 255

/* What every row needs to know: the `arg` of the job, copied once. */
struct view {
    double left, top, step;
};

static int paint_row(const void *in, void *out, const void *arg, size_t arg_size)
{
    const struct view *view = arg;
    int y;
    if (arg_size != sizeof *view)
        return 1;
    memcpy(&y, in, sizeof y);
    unsigned char *row = out;
    for (int x = 0; x < WIDTH; x++) {
        double cr = view->left + x * view->step, ci = view->top - y * view->step;
        double r = 0, i = 0;
        int n = 0;
        for (; n < STEPS && r * r + i * i <= 4; n++) {
            double next = r * r - i * i + cr;
            i = 2 * r * i + ci;
            r = next;
        }
        row[x] = (unsigned char)(STEPS - n); /* 0, black: it never left */
    }
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"paint row", paint_row}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static void paint(enum ramet_start_method method, const struct view *view, unsigned char *pixels)
{
    ramet_pool_options options = {.size = sizeof options, .method = method}; /* all processors */
    ramet_map_options all = {.size = sizeof all, .arg = view, .arg_size = sizeof *view};
    ramet_pool *pool;
    ramet_job *job;
    int rows[HEIGHT];
    for (int y = 0; y < HEIGHT; y++)
        rows[y] = y;
    MUST(ramet_pool_create(&options, &pool));
    /* The results are put where they belong in the picture. */
    MUST(ramet_pool_map(pool, "paint row", rows, sizeof *rows, HEIGHT, pixels, WIDTH, &all, &job));
    if (MUST(ramet_job_wait(job, NULL)) > 0)
        exit(1);
    ramet_job_free(job);
    MUST(ramet_pool_close(pool));
    MUST(ramet_pool_join(pool, NULL));
    MUST(ramet_pool_free(pool));
}

/* Whether the file is the picture: its length, the checks of its chunks, and some pixels. */
static int is_picture(const unsigned char *file, size_t size)
{
    if (size != PNG_SIZE(WIDTH, HEIGHT) || png_get32(file + 16) != WIDTH)
        return 0;
    size_t at = 8;
    while (at + 12 <= size) {
        uint32_t length = png_get32(file + at);
        if (length > size - at - 12 ||
            png_get32(file + at + 8 + length) != png_crc(file + at + 4, length + 4))
            return 0;
        at += length + 12;
    }
    const unsigned char *middle = file + PNG_FIRST_ROW + PNG_ROW(WIDTH) * (HEIGHT / 2) + 6;
    return at == size && middle[WIDTH * 2 / 3] == 0 /* the origin: inside */ &&
           middle[WIDTH - 1] > 200 /* far outside */;
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 1));
    static unsigned char pixels[WIDTH * HEIGHT], file[PNG_SIZE(WIDTH, HEIGHT) + 1];
    struct view view = {.left = -2, .top = 1, .step = 3.0 / WIDTH};
    paint(method_of(argc, argv), &view, pixels);
    png_encode(pixels, WIDTH, HEIGHT, file);

    FILE *to = argc > 2 ? fopen(argv[2], "w+e") : tmpfile();
    if (!to || fwrite(file, 1, PNG_SIZE(WIDTH, HEIGHT), to) != PNG_SIZE(WIDTH, HEIGHT) ||
        fseek(to, 0, SEEK_SET) != 0) {
        perror("12_mandelbrot");
        return 1;
    }
    memset(file, 0, sizeof file);
    int good = is_picture(file, fread(file, 1, sizeof file, to));
    good &= fclose(to) == 0;
    printf("%d x %d pixels, %s\n", WIDTH, HEIGHT, good ? "well written" : "badly written");
    return good ? 0 : 1;
}
