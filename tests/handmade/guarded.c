/* What a checked kernel calls for an access that is outside (templates/c/bounds.h), for tests that run it by itself. */

#include <setjmp.h>
#include <stdint.h>

static jmp_buf back;
static int64_t *found; /* the name of a pointer, the index, the number of elements */

typedef void (*kernel)(void *const *restrict, const int64_t *restrict, int64_t, int64_t, char *restrict);

_Noreturn void intaglio_outside(const char *name, int64_t index, int64_t extent)
{
    found[0] = (int64_t)(intptr_t)name, found[1] = index, found[2] = extent;
    longjmp(back, 1);
}

/* Whether the kernel stayed inside; else `report` tells. */
int32_t guarded(kernel k, void *const *buf, const int64_t *p, int64_t begin, int64_t end, char *scratch, int64_t *report)
{
    found = report;
    if (setjmp(back)) return 0;
    k(buf, p, begin, end, scratch);
    return 1;
}
