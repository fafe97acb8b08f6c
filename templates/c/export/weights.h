/* The weights of a model by itself: of a file (weights_file.c), or linked in (weights_linked.c). */

#ifndef INTAGLIO_WEIGHTS_H
#define INTAGLIO_WEIGHTS_H

#include <stdint.h>

/* Sets *at to `bytes` bytes of weights, 64-byte aligned and read-only. Returns a status of standalone.h. */
int32_t intaglio_open_weights(const char *path, int64_t bytes, const char **at);

/* Gives them back. at: what the call above said, or NULL. */
void intaglio_close_weights(const char *at, int64_t bytes);

#endif
