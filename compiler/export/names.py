"""Texts of models as C: identifiers, strings and comments.

In: names and messages that come from a model, which is not trusted. Out: text that can be nothing else in a C or C++
source, in a Makefile, or in a file of CMake.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_WORDS = """
alignas alignof and and_eq asm assert auto bitand bitor bool break case catch char class compl complex concept const
const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum errno
explicit export extern false float for friend goto if imaginary inline int long mutable namespace new noexcept not
not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return short
signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef
typeid typename typeof union unsigned using virtual void volatile wchar_t while xor xor_eq
NULL EOF I linux unix i386 stdin stdout stderr
model about weights threads int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t
"""  # of C and C++, macros of compilers and standard headers, and what the functions of templates/c/export use
_FILES = """
aio alloca assert complex cpio ctype dirent dlfcn endian errno features fcntl fenv float fmtmsg fnmatch ftw getopt
glob grp iconv inttypes iso646 langinfo libgen limits locale malloc math memory monetary mqueue ndbm netdb nl_types
omp poll pthread pwd regex sched search semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stdckdint
stddef stdint stdio stdlib stdnoreturn string strings stropts syscall syslog tar termios tgmath threads time uchar
ucontext ulimit unistd utime utmpx values wchar wctype wordexp xmmintrin immintrin
bounds halves names places runtime_abi standalone tiles weights words
c dl gcc m rt stdc util
all clean edit_cache example help install main package package_source preinstall rebuild_cache test
"""  # headers of C, POSIX and an exported folder, of which that of a model would hide one; libraries; targets of make
_RESERVED, _TAKEN = frozenset(_WORDS.split()), frozenset(_FILES.split())


def identifier(text: str, taken: Collection[str] = ()) -> str:
    """An identifier that is like `text`, and not in `taken`."""
    plain = _plain(text)
    if plain in _RESERVED:
        plain = f"{plain}_"
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    return found


def prefix(stem: str) -> str:
    """What the names of a model's functions and files begin with, from the name of its file."""
    plain = _plain(stem)
    return f"{plain}_model" if plain.lower() in _TAKEN else plain


def _plain(text: str) -> str:
    """Letters, digits and single underscores between them, of bounded length; it may be a word of C."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "x"
    return (f"x{plain}" if plain[0].isdigit() or plain.startswith("intaglio") else plain)[:64]


def comment(text: str) -> str:
    """The text within a comment, whose end it is not."""
    return re.sub(r"[^ !-~]|[?\\]", "_", text).replace("*/", "* /").replace("/*", "/ *")


def string(text: str) -> str:
    """The literal of a string."""
    return '"' + "".join(map(_escaped, text.encode("utf-8", "replace"))) + '"'


def _escaped(byte: int) -> str:
    """A byte within a literal; by its number, always of three digits, where it could begin something else."""
    character = chr(byte)
    return character if " " <= character <= "~" and character not in '"\\?' else f"\\{byte:03o}"
