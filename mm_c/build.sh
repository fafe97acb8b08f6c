#!/bin/sh
# Makes model.so; its functions are described in runtime_abi.h, its inputs and outputs in manifest.json.
set -e
cd "$(dirname "$0")"
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -I. -c pool.c -o pool.o
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -I. -c program.c -o program.o
"${CC:-cc}" -O3 -std=c11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -msse3 -mssse3 -msse4.1 -msse4.2 -mpopcnt -mcx16 -msahf -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -I. -c k147c8a47769a962f.c -o k147c8a47769a962f.o
"${CC:-cc}" -shared -s -Wl,--gc-sections -Wl,-z,noexecstack pool.o program.o k147c8a47769a962f.o -o model.so -lm -lpthread
