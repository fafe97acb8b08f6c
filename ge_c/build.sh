#!/bin/sh
# Makes model.so; its functions are described in runtime_abi.h, its inputs and outputs in manifest.json.
set -e
cd "$(dirname "$0")"
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512 -I. -c pool.c -o pool.o
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512 -I. -c program.c -o program.o
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512 -I. -c kae34efa911f9511d.c -o kae34efa911f9511d.o
"${CC:-cc}" -shared -s -Wl,--gc-sections -Wl,-z,noexecstack pool.o program.o kae34efa911f9511d.o -o model.so -lm -lpthread
