/* SPDX-License-Identifier: MIT
 *
 * stress_process.c: several threads (or processes) start children by every method, at the same
 * time, and join them: each gets the exit code of its own child, and finds what that child wrote
 * into the object that it was given.
 */
#include "stress.h"

#include <ramet/data.h>
#include <ramet/process.h>

#include <string.h>

enum { WORKERS = 3, ROUNDS = 9 };

struct request {
    ramet_ref data;
    uint64_t number;
};

static unsigned rounds;

static int write_number(const void *arg, size_t size)
{
    struct request request;
    ramet_data *data;
    CHECK(size == sizeof request);
    memcpy(&request, arg, sizeof request);
    OK(ramet_data_open(&request.data, &data));
    *(uint64_t *)ramet_data_address(data) = request.number;
    ramet_data_close(data);
    return (int)(request.number % 200);
}

static const ramet_task tasks[] = {{"write_number", write_number}};

static void start_and_join(enum ramet_start_method method, uint64_t number)
{
    struct request request = {.number = number};
    ramet_data *data;
    OK(ramet_data_create(sizeof(uint64_t), &data));
    request.data = ramet_data_ref(data);
    ramet_process_options options = {.size = sizeof options,
                                     .method = method,
                                     .task = "write_number",
                                     .arg = &request,
                                     .arg_size = sizeof request,
                                     .refs = &request.data,
                                     .ref_count = 1};
    ramet_process *process;
    int code;
    OK(ramet_process_start(&options, &process));
    OK(ramet_process_join(process, NULL, &code));
    CHECK(code == (int)(number % 200));
    CHECK(*(uint64_t *)ramet_data_address(data) == number);
    OK(ramet_process_close(process));
    ramet_data_close(data);
}

static void work(unsigned index)
{
    for (unsigned i = 1; i <= rounds; i++) {
        start_and_join(RAMET_FORK, 100 * i + index);
        start_and_join(RAMET_FORKSERVER, 100 * i + index);
        if (i % 3 == 0)
            start_and_join(RAMET_SPAWN, 100 * i + index);
    }
}

int main(int argc, char **argv)
{
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof *tasks));
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    start_and_join(RAMET_FORKSERVER, 1); /* the server's own blocks are made with the first */
    uint64_t blocks = stress_blocks();
    stress_run(WORKERS, work);
    stress_end(blocks);
    return 0;
}
