/* Accesses of kernels to memory: plain, or with a check of every access if INTAGLIO_CHECKED is defined.

   In:  pointers, each with an EXTENT.
   Out: the same accesses; or, for the first one that is out of bounds, a call of intaglio_outside, which does not return.
   It must never change what a kernel computes, nor, without checks, its machine code.

       EXTENT(x, n)                    the pointer x of this scope points at n elements
       AT(x, i)                        element i
       RANGE(x, i, n)                  the address of elements [i, i + n), for code that accesses only these
       INSIDE(x, i, n)                 only checks that range
       LINES(x, i, lines, stride, n)   checks `lines` ranges of n elements, `stride` apart, the first one at i
       EXTENTS(...)                    in a program, the extents of a kernel's buffers: see Holes.declarations

   Empty ranges, and ranges of a negative count, are inside at any index. Arguments are evaluated once, except those of
   INSIDE, LINES and EXTENT without checks, which are not evaluated at all. Those name the pointer, so that a compiler does
   not warn of one that a kernel has no use for. */

#ifndef INTAGLIO_BOUNDS_H
#define INTAGLIO_BOUNDS_H

#include <stdint.h>

#ifdef INTAGLIO_CHECKED

/* Ends the task; name: of the pointer in the kernel's source. */
_Noreturn void intaglio_outside(const char *name, int64_t index, int64_t extent);

static inline int64_t intaglio_inside(const char *name, int64_t index, int64_t count, int64_t extent)
{
    if (count > 0 && (index < 0 || count > extent || index > extent - count))
        intaglio_outside(name, index < 0 ? index : index + count - 1, extent);
    return index;
}

static inline void intaglio_lines(const char *name, int64_t index, int64_t lines, int64_t stride, int64_t count, int64_t extent)
{
    if (lines <= 0) return;
    intaglio_inside(name, index, count, extent);
    intaglio_inside(name, index + (lines - 1) * stride, count, extent);
}

#define EXTENTS(...) , __VA_ARGS__
#define EXTENT(x, n) const int64_t x##_extent = (n)
#define AT(x, i) (x)[intaglio_inside(#x, (i), 1, x##_extent)]
#define RANGE(x, i, n) ((x) + intaglio_inside(#x, (i), (n), x##_extent))
#define INSIDE(x, i, n) ((void)intaglio_inside(#x, (i), (n), x##_extent))
#define LINES(x, i, lines, stride, n) intaglio_lines(#x, (i), (lines), (stride), (n), x##_extent)

#else

#define EXTENTS(...)
#define EXTENT(x, n) ((void)(x))
#define AT(x, i) (x)[i]
#define RANGE(x, i, n) ((x) + (i))
#define INSIDE(x, i, n) ((void)(x))
#define LINES(x, i, lines, stride, n) ((void)0)

#endif
#endif
