// What the parts of the shim share. See runtime.cpp.
#pragma once
#include <cstddef>
#include <utility>

#define API extern "C" __attribute__((visibility("default")))
// A function that torch calls and whose work does not matter here. Arguments are not looked at.
#define NOTHING_TO_DO(name) API int name(...) { return 0; }

constexpr std::size_t SHIM_MEMORY = std::size_t(139) << 30;

enum {  // the order is that of `shim.COUNTS`
  SHIM_EAGER, SHIM_CAPTURED, SHIM_REPLAYED, SHIM_LAUNCHES, SHIM_GRAPHS, SHIM_WAITS, SHIM_TO_DEVICE, SHIM_TO_HOST,
  SHIM_PINNED, SHIM_SPOILED, SHIM_COUNTS
};

int shim_work(void* stream);  // one operation on a stream; not 0 if its capture is spoiled
int shim_allocates();         // not 0 where a capture forbids the driver's allocations
int shim_error(int error);    // notes the error of this thread, and gives it back
