/* SPDX-License-Identifier: MIT
 *
 * 04_pipe.c: a pipe between parent and child, in both directions, and its end of file.
 *
 *     04_pipe [fork|spawn|forkserver]
 *
 * The parent closes its own handle of the child's end: the last handle is then the child's, and
 * when the child ends, however it does, the parent reads the end of file.
 */
#include "example.h"

#include <ctype.h>
#include <errno.h>

static int answer(const void *arg, size_t size)
{
    (void)size;
    ramet_end *end;
    char text[64];
    size_t n;
    MUST(ramet_end_open(arg, -1, &end));
    for (int i = 0; i < 2; i++) {
        MUST(ramet_end_recv(end, text, sizeof text, &n, NULL));
        for (size_t k = 0; k < n; k++)
            text[k] = (char)toupper((unsigned char)text[k]);
        MUST(ramet_end_send(end, text, n, NULL));
    }
    ramet_end_close(end);
    return 0;
}

static const ramet_task tasks[] = {{"answer", answer}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_end *mine, *other;
    ramet_ref ref;
    char text[64];
    size_t n;
    MUST(ramet_pipe_create(NULL, &mine, &other));
    MUST(ramet_end_ref(other, &ref));
    ramet_process *process = start(method_of(argc, argv), "answer", &ref, 1);
    static const char *const words[] = {"hello", "world"};
    for (int i = 0; i < 2; i++) {
        MUST(ramet_end_send(mine, words[i], strlen(words[i]), NULL));
        MUST(ramet_end_recv(mine, text, sizeof text, &n, NULL));
        printf("sent %s, received %.*s\n", words[i], (int)n, text);
    }
    if (join(process) != 0)
        return 1;
    ramet_end_close(other);
    int r = ramet_end_recv(mine, text, sizeof text, &n, NULL);
    printf("then: %s\n", r == -ENODATA ? "end of file" : strerror(-r));
    ramet_end_close(mine);
    return r == -ENODATA ? 0 : 1;
}
