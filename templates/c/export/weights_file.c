/* Weights of a file: mapped, so that processes share them, or read where the system maps no files. */

#define _GNU_SOURCE
#include "standalone.h"
#include "weights.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int32_t intaglio_open_weights(const char *path, int64_t bytes, const char **at)
{
    *at = NULL;
    if (!bytes) return INTAGLIO_OK;
    if (!path) return INTAGLIO_NULL_POINTER;
    if ((uint64_t)bytes > SIZE_MAX) return INTAGLIO_NO_MEMORY;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return INTAGLIO_NO_WEIGHTS;
    struct stat about;
    int32_t status = fstat(file, &about) ? INTAGLIO_NO_WEIGHTS : about.st_size != bytes ? INTAGLIO_WRONG_WEIGHTS : INTAGLIO_OK;
    if (!status) {
        void *mapped = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, file, 0);
        if (mapped == MAP_FAILED) status = INTAGLIO_NO_WEIGHTS;
        else *at = mapped;
    }
    close(file);
    return status;
}

void intaglio_close_weights(const char *at, int64_t bytes)
{
    if (at) munmap((void *)(intptr_t)at, (size_t)bytes);
}

#else
#include <stdio.h>
#include <stdlib.h>

#define LINE 64 /* bytes */

int32_t intaglio_open_weights(const char *path, int64_t bytes, const char **at)
{
    *at = NULL;
    if (!bytes) return INTAGLIO_OK;
    if (!path) return INTAGLIO_NULL_POINTER;
    if ((uint64_t)bytes > SIZE_MAX) return INTAGLIO_NO_MEMORY;
    FILE *file = fopen(path, "rb");
    if (!file) return INTAGLIO_NO_WEIGHTS;
    const size_t size = (size_t)bytes;
    char *memory = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
    int32_t status = INTAGLIO_NO_MEMORY;
    if (memory) status = fread(memory, 1, size, file) != size || getc(file) != EOF ? INTAGLIO_WRONG_WEIGHTS : INTAGLIO_OK;
    if (status) free(memory);
    else *at = memory;
    fclose(file);
    return status;
}

void intaglio_close_weights(const char *at, int64_t bytes)
{
    (void)bytes;
    free((void *)(intptr_t)at);
}
#endif
