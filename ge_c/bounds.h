/* How kernels reach memory: plainly, or with a check of every access where INTAGLIO_CHECKED is defined.

   In:  pointers, each with an EXTENT.
   Out: the same accesses; or, of the first one that is outside, a call of intaglio_outside, which does not return.
   It must never change what a kernel computes, nor, without checks, its machine code.

       EXTENT(x, n)                    what the pointer x of this scope points at are n elements
       AT(x, i)                        element i
       RANGE(x, i, n)                  the address of elements [i, i + n), for what reads or writes just those
       INSIDE(x, i, n)                 checks that range alone
       LINES(x, i, lines, stride, n)   checks as many ranges of n elements, of which the first is at i
       EXTENTS(...)                    in a program, what the buffers of a kernel hold: see Holes.declarations

   Empty ranges, and ranges of a negative count, are anywhere. Arguments are evaluated once, but those of INSIDE, LINES
   and EXTENT without checks, which are not evaluated at all. */

#ifndef INTAGLIO_BOUNDS_H
#define INTAGLIO_BOUNDS_H

#include <stdint.h>

#ifdef INTAGLIO_CHECKED

/* name: of the pointer in the kernel's source. The task ends here. */
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
#define EXTENT(x, n)
#define AT(x, i) (x)[i]
#define RANGE(x, i, n) ((x) + (i))
#define INSIDE(x, i, n) ((void)0)
#define LINES(x, i, lines, stride, n) ((void)0)

#endif
#endif
