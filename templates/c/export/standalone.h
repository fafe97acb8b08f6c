/* A model by itself: what api.c, the typed functions of a model, is made of.

   In:  what api.c says of the model; weights.h and threads.h, each with two implementations of which one is linked.
   Out: handles, and runs of program.c by the interface of runtime_abi.h.
   It must never depend on Python, or on a model but by an intaglio_description. */

#ifndef INTAGLIO_STANDALONE_H
#define INTAGLIO_STANDALONE_H

#include "runtime_abi.h"

/* Beside those of a run (runtime_abi.h). Those above 0 are numbered on: after the refusals of sizes the failures of runs. */
#define INTAGLIO_NULL_POINTER (-16)
#define INTAGLIO_BAD_SIZE (-17)
#define INTAGLIO_NO_WEIGHTS (-18)
#define INTAGLIO_WRONG_WEIGHTS (-19)

/* Where the value of one of the program's symbols comes from. */
typedef struct intaglio_symbol {
    enum { INTAGLIO_SIZE, INTAGLIO_ELEMENT, INTAGLIO_RANDOM } from;
    int64_t least;          /* INTAGLIO_SIZE: the next of the caller's, and at least that */
    int32_t input, element; /* INTAGLIO_ELEMENT: this element of this input, whose elements have */
    int32_t bytes;          /*     so many bytes, 4 or 8, and a sign */
} intaglio_symbol;

/* An output. */
typedef struct intaglio_output_type {
    int32_t rank, bytes; /* of an element */
    int32_t is_made;     /* whether its shape depends on data: then the run allocates it */
} intaglio_output_type;

typedef struct intaglio_description {
    int32_t inputs, outputs, symbols;
    const intaglio_symbol *symbol;      /* [symbols] */
    const intaglio_output_type *output; /* [outputs] */
    int64_t weights_bytes;              /* of the weights */
    int32_t refusals, texts;            /* how many statuses above 0 are refusals of sizes, how many there are */
    const char *const *text;            /* [texts]: of status 1 + index */
} intaglio_description;

/* The arguments of a call, as api.c has them from its caller. */
typedef struct intaglio_arguments {
    const int64_t *sizes;       /* the values of all INTAGLIO_SIZE */
    const void *const *inputs;  /* [inputs]; without a run only those of INTAGLIO_ELEMENT are looked at */
    void *const *outputs;       /* [outputs]: where to write it, or, if it is made, the pointer to set */
    int64_t *const *shapes;     /* [outputs]: where to write its shape, or NULL */
    int64_t *work;              /* [symbols + 4 + the ranks of all outputs], any values */
} intaglio_arguments;

typedef struct intaglio_model intaglio_model;

/* A handle with the weights of the file `path`, unless they are linked in, for runs of up to so many threads, or as many
   as there are CPUs if that is 0. NULL, and a status, if that cannot be. */
intaglio_model *intaglio_create(const intaglio_description *about, const char *path, int32_t threads, int32_t *status);

/* Frees it; no run of it may be in progress. NULL is nothing. */
void intaglio_destroy(intaglio_model *model);

/* Makes later runs draw other random numbers, the same for the same seed. */
void intaglio_seed(intaglio_model *model, uint64_t seed);

/* Writes the shapes of all outputs, with -1 for what depends on data. Returns a status. */
int32_t intaglio_shapes(const intaglio_description *about, const intaglio_arguments *arguments);

/* Runs the model; any number of threads may do that at the same time. Returns a status; if it is other than 0, what
   outputs hold is undefined, and pointers of those that are made are NULL. */
int32_t intaglio_execute(intaglio_model *model, const intaglio_arguments *arguments);

/* Frees an output that is made. */
void intaglio_free(void *output);

/* What a status means; never NULL. */
const char *intaglio_text(const intaglio_description *about, int32_t status);

#endif
