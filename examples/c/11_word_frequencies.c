/* SPDX-License-Identifier: MIT
 *
 * 11_word_frequencies.c: a pool counts the words of many files, one file an item; the counts are
 * merged, and compared with those of a serial pass.
 *
 *     11_word_frequencies [fork|spawn|forkserver [FILE...]]
 *
 * Without files it makes some of its own.  An item is a path, its result a table of fixed size:
 * what goes through a pool has the size that ramet_pool_map was told.
 */
#include "example.h"

#include <ctype.h>
#include <limits.h>
#include <unistd.h>

#define WORD 24
#define ROOM 1000 /* different words in a file */

struct table {
    int count;
    struct entry {
        char word[WORD]; /* longer words are cut */
        int times;
    } entry[ROOM];
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->word, ((const struct entry *)b)->word);
}

/* Counts `word` in a sorted table.  Returns 0, or 1 if there is no room. */
static int add(struct table *table, const char *word, int times)
{
    struct entry key = {.times = times};
    memcpy(key.word, word, strlen(word) + 1);
    struct entry *found = bsearch(&key, table->entry, (size_t)table->count, sizeof key, compare);
    if (found) {
        found->times += times;
        return 0;
    }
    if (table->count == ROOM)
        return 1;
    int at = table->count++;
    for (; at > 0 && compare(&table->entry[at - 1], &key) > 0; at--)
        table->entry[at] = table->entry[at - 1];
    table->entry[at] = key;
    return 0;
}

/* Runs in a worker.  What it returns other than 0 makes the item fail, and tells why. */
static int count_words(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    struct table *table = out;
    char word[WORD];
    size_t length = 0;
    FILE *file = fopen(in, "re");
    if (!file)
        return 2;
    table->count = 0; /* a result is not cleared before */
    int c, full = 0;
    do {
        c = getc(file);
        if (c != EOF && isalpha((unsigned char)c)) {
            if (length < WORD - 1)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            word[length] = 0;
            full |= add(table, word, 1);
            length = 0;
        }
    } while (c != EOF);
    fclose(file);
    return full;
}

static const ramet_pool_task pool_tasks[] = {{"count words", count_words}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static int merge(struct table *all, const struct table *tables, int count)
{
    int full = 0;
    all->count = 0;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < tables[i].count; k++)
            full |= add(all, tables[i].entry[k].word, tables[i].entry[k].times);
    return full;
}

static int count_by_pool(enum ramet_start_method method, char (*paths)[PATH_MAX], int count,
                         struct table *tables)
{
    ramet_pool_options options = {.size = sizeof options, .workers = 3, .method = method};
    ramet_pool *pool;
    ramet_job *job;
    MUST(ramet_pool_create(&options, &pool));
    MUST(ramet_pool_map(pool, "count words", paths, PATH_MAX, (size_t)count, tables, sizeof *tables,
                        NULL, &job));
    long failed = MUST(ramet_job_wait(job, NULL));
    if (failed > 0) {
        ramet_failure first;
        MUST(ramet_job_failures(job, &first, 1));
        fprintf(stderr, "%ld files failed, the first is %s\n", failed, paths[first.item]);
    }
    ramet_job_free(job);
    MUST(ramet_pool_close(pool));
    MUST(ramet_pool_join(pool, NULL));
    MUST(ramet_pool_free(pool));
    return failed > 0;
}

/* Some text: the words "a" to "zz", the frequent ones first. */
static void write_sample(const char *path, unsigned seed)
{
    FILE *file = fopen(path, "we");
    if (!file) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < 2000; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned word = (seed >> 16) % 676 * ((seed >> 8) % 26) / 26;
        fprintf(file, "%c%.*s%s", 'A' + (int)(word % 26), word >= 26,
                &"abcdefghijklmnopqrstuvwxyz"[word / 26], i % 12 == 11 ? ".\n" : " ");
    }
    if (fclose(file) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    enum { SAMPLES = 20 };
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 1));
    enum ramet_start_method method = method_of(argc, argv);
    int count = argc > 2 ? argc - 2 : SAMPLES;
    char folder[] = "/tmp/ramet-words-XXXXXX";
    char (*paths)[PATH_MAX] = calloc((size_t)count, sizeof *paths);
    struct table *tables = calloc((size_t)count + 2, sizeof *tables);
    if (!paths || !tables || (argc <= 2 && !mkdtemp(folder)))
        return 1;
    for (int i = 0; i < count; i++) {
        if (argc > 2)
            snprintf(paths[i], PATH_MAX, "%s", argv[2 + i]);
        else
            snprintf(paths[i], PATH_MAX, "%s/%d.txt", folder, i);
        if (argc <= 2)
            write_sample(paths[i], (unsigned)i);
    }

    struct table *parallel = &tables[count], *serial = &tables[count + 1];
    int bad = count_by_pool(method, paths, count, tables) | merge(parallel, tables, count);
    for (int i = 0; i < count; i++)
        bad |= count_words(paths[i], &tables[i], NULL, 0);
    bad |= merge(serial, tables, count);
    bad |= parallel->count != serial->count;
    for (int i = 0; !bad && i < serial->count; i++)
        bad = compare(&serial->entry[i], &parallel->entry[i]) != 0 ||
              serial->entry[i].times != parallel->entry[i].times;

    const struct entry *most = &parallel->entry[0];
    for (int i = 1; i < parallel->count; i++)
        if (parallel->entry[i].times > most->times)
            most = &parallel->entry[i];
    printf("%d different words in %d files, most often \"%s\"; serial and parallel counts %s\n",
           parallel->count, count, most->word, bad ? "differ" : "agree");

    for (int i = 0; argc <= 2 && i < count; i++)
        unlink(paths[i]);
    if (argc <= 2)
        rmdir(folder);
    free(paths);
    free(tables);
    return bad;
}
