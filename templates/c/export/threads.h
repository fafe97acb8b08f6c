/* The threads of a model by itself: a pool that its handles share (threads.c), or none (alone.c). */

#ifndef INTAGLIO_THREADS_H
#define INTAGLIO_THREADS_H

#include "runtime_abi.h"

/* The pool, for one handle more. *threads: how many a run is to have, 0 for as many as there are CPUs, which becomes
   that number. NULL, and *threads 1: runs have the caller's thread alone. */
intaglio_pool *intaglio_join_pool(int32_t *threads);

/* To be called once for each pool that the function above returned: the last one ends the threads. */
void intaglio_leave_pool(intaglio_pool *pool);

#endif
