/* One pool of threads (pool.c) for all handles of a model. It is made by the first that wants more than one thread, and
   kept, without threads, when there is no handle any more. */

#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define SPIN_NS 200000 /* how long an idle thread polls before it sleeps */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the words below */
static intaglio_pool *shared;
static int64_t members;

/* The CPUs that this process may use. */
static int32_t usable_cpus(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    const int64_t online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

intaglio_pool *intaglio_join_pool(int32_t *threads)
{
    const int32_t cpus = usable_cpus();
    if (*threads <= 0) *threads = cpus;
    if (*threads == 1) return NULL;
    pthread_mutex_lock(&lock);
    if (!shared) shared = intaglio_pool_create(cpus, SPIN_NS);
    intaglio_pool *pool = shared;
    members += pool != NULL;
    pthread_mutex_unlock(&lock);
    if (!pool) *threads = 1;
    return pool;
}

void intaglio_leave_pool(intaglio_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&lock);
    if (--members == 0) intaglio_pool_stop(pool);
    pthread_mutex_unlock(&lock);
}
