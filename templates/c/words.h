/* 64-bit words that threads read and write at the same time. */
#ifndef INTAGLIO_WORDS_H
#define INTAGLIO_WORDS_H

#include <stdint.h>

/* Some 32-bit systems align other integers of that size by 4 bytes, and their CPUs then need a lock for such an access. */
typedef uint64_t intaglio_word __attribute__((aligned(8)));

#endif
