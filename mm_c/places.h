/* The state that the files of one program share while a run walks its steps. Steps are cut into files of bounded length,
   so that the time of the C compiler stays proportional to their number. */
#ifndef INTAGLIO_PLACES_H
#define INTAGLIO_PLACES_H

#include "runtime_abi.h"

/* d: the values of symbols. By the number of a region: its memory, the scratch behind it, the bytes of that for one
   thread, and its memory on the device. s, r: long sizes, as integers and in double. */
typedef struct intaglio_places {
    int64_t *d;
    char **region, **scratch, **device;
    int64_t *scratch_bytes;
    int64_t *s;
    double *r;
} intaglio_places;

#define KERNEL(name) \
    void name(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)

/* Computes the long sizes that are known once the symbol of a region is. */
#define SIZES(region) void intaglio_sizes##region(const int64_t *d, int64_t *s, double *r)

/* Walks a part of the steps; non-zero: the run is to end. */
#define PART(name) int32_t name(intaglio_walker *w, const intaglio_places *at)

#endif
