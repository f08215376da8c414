/* SPDX-License-Identifier: MIT
 *
 * preload.c: exec for programs under qemu's user mode.  qemu hands an exec to the kernel, which
 * runs a program of another machine only where binfmt_misc is set up, and in a container it seldom
 * can be. Preloaded, this makes an exec of the program itself (the library and its tests do no
 * other) one of qemu with that program.  RAMET_QEMU is the path of qemu; see meson.build.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
#define ARGUMENTS 16

typedef int execve_fn(const char *path, char *const argv[], char *const envp[]);
typedef int spawn_fn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

struct command {
    const char *path;
    char *argv[ARGUMENTS];
    char program[PATH_MAX];
};

/* What to execute instead; 0 or -1 with errno. */
static int translate(const char *path, char *const argv[], struct command *ret_command)
{
    const char *qemu = getenv("RAMET_QEMU");
    if (!qemu || strcmp(path, "/proc/self/exe") != 0) {
        errno = ENOEXEC;
        return -1;
    }
    ssize_t n = readlink(path, ret_command->program, PATH_MAX - 1); /* qemu tells its guest's */
    if (n < 0)
        return -1;
    ret_command->program[n] = 0;
    ret_command->path = qemu;
    ret_command->argv[0] = (char *)(uintptr_t)qemu;
    ret_command->argv[1] = ret_command->program;
    int count = 2;
    for (char *const *a = argv + 1; *a; a++) {
        if (count + 1 == ARGUMENTS) {
            errno = E2BIG;
            return -1;
        }
        ret_command->argv[count++] = *a;
    }
    ret_command->argv[count] = NULL;
    return 0;
}

PUBLIC int execve(const char *path, char *const argv[], char *const envp[])
{
    struct command command;
    execve_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "execve");
    return translate(path, argv, &command) < 0 ? -1 : next(command.path, command.argv, envp);
}

PUBLIC int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    struct command command;
    spawn_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "posix_spawn");
    if (translate(path, argv, &command) < 0)
        return errno;
    return next(pid, command.path, actions, attributes, command.argv, envp);
}

/* Or the loader of the machine itself would see it when qemu is executed, and complain. */
__attribute__((constructor)) static void forget(void)
{
    unsetenv("LD_PRELOAD");
}
