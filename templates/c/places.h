/* What the files of one program share: where things are while a run walks its steps. Steps are cut into files of bounded
   length, so that the C compiler's time stays in proportion to them. */
#ifndef INTAGLIO_PLACES_H
#define INTAGLIO_PLACES_H

#include "runtime_abi.h"

/* The symbols' values, and by the number of the region that a symbol makes: its memory, the scratch behind it, how large
   that is for one thread, and its memory on the device. s, r: sizes that are long. */
typedef struct intaglio_places {
    int64_t *d;
    char **region, **scratch, **device;
    int64_t *scratch_bytes;
    int64_t *s;
    double *r;
} intaglio_places;

#define KERNEL(name) \
    void name(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)

/* Computes the sizes that are long, and known once the symbol of a region is. */
#define SIZES(region) void intaglio_sizes##region(const int64_t *d, int64_t *s, double *r)

/* Walks a part; non-zero: the run is to end. */
#define PART(name) int32_t name(intaglio_walker *w, const intaglio_places *at)

#endif
