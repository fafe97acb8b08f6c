/* One pool of threads (pool.c) for all handles of a model. It is made by the first that wants more than one thread, and
   kept, without threads, when there is no handle any more. */

#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <unistd.h>

#define SPIN_NS 200000 /* how long an idle thread polls before it sleeps */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the words below */
static intaglio_pool *shared;
static int64_t members;

intaglio_pool *intaglio_join_pool(int32_t *threads)
{
    const int32_t cpus = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (*threads <= 0) *threads = cpus > 0 ? cpus : 1;
    if (*threads == 1) return NULL;
    pthread_mutex_lock(&lock);
    if (!shared) shared = intaglio_pool_create(cpus, SPIN_NS);
    members += shared != NULL;
    pthread_mutex_unlock(&lock);
    if (!shared) *threads = 1;
    return shared;
}

void intaglio_leave_pool(intaglio_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&lock);
    if (--members == 0) intaglio_pool_stop(pool);
    pthread_mutex_unlock(&lock);
}
