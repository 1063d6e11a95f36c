// A CUDA runtime that calculates nothing and keeps count. torch's own CUDA code runs on it, on a machine without a GPU:
// its allocator, streams, autograd threads, fused optimizers and CUDA graphs.
//
// It shows: what is launched, captured, copied and waited for; how much memory is reserved; that a capture keeps the
// rules (no allocation by the driver, no wait, no work of another capture, every stream joined); what happens where
// memory is short. Memory is reserved and never touched, so large networks fit.
// It cannot show: any number that a kernel would give (what is read from the device is zeros), how long anything takes, and which
// kernel cuBLAS or cuDNN would choose.
//
// Preloaded, its symbols take the place of libcudart's: `make test-gpu-shim`. `libraries.cpp` is cuBLAS; convolutions
// and batch norms are replaced one level higher, in `shim.py`, because cuDNN's graphs are built of opaque descriptors.
#include "shim.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

namespace {

constexpr size_t kPage = size_t(2) << 20;  // what the driver hands out is aligned to this

struct Stream;

// Operations between cudaStreamBeginCapture and cudaStreamEndCapture, each with those it comes after.
struct Capture {
  unsigned long long id;
  Stream* origin;
  cudaStreamCaptureMode mode;
  pthread_t owner;
  bool spoiled = false;
  std::vector<std::set<int>> nodes;
};

struct Stream {
  Capture* capture = nullptr;
  std::set<int> after;  // nodes that the next operation comes after
};

struct Event {
  bool recorded = false;
  unsigned long long capture_id = 0;  // 0: recorded outside of any capture
  std::set<int> after;
};

struct Graph {
  size_t nodes;
};

std::recursive_mutex mutex_;
Stream legacy;
std::vector<Stream*> streams{&legacy};
std::vector<Capture*> captures;
unsigned long long last_capture_id = 0;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
thread_local cudaError_t last_error = cudaSuccess;
std::map<char*, size_t> device_blocks, pinned_blocks;
size_t limit = SHIM_MEMORY, used = 0;
long counts[SHIM_COUNTS] = {};

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

Stream* stream_of(cudaStream_t handle) {
  bool is_legacy = handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread;
  return is_legacy ? &legacy : reinterpret_cast<Stream*>(handle);
}

cudaError_t spoil(Capture* capture, cudaError_t error) {
  capture->spoiled = true;
  counts[SHIM_SPOILED]++;
  return result(error);
}

Capture* living(unsigned long long id) {
  for (Capture* capture : captures)
    if (capture->id == id) return capture;
  return nullptr;
}

// What the driver may not be asked for during a capture, unless the thread has said that it knows better.
cudaError_t forbidden_in_capture() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  for (Capture* capture : captures) {
    bool own = pthread_equal(capture->owner, pthread_self());
    if (capture->mode == cudaStreamCaptureModeGlobal || (capture->mode == cudaStreamCaptureModeThreadLocal && own))
      return spoil(capture, cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

bool inside(const std::map<char*, size_t>& blocks, const void* pointer) {
  auto next = blocks.upper_bound(static_cast<char*>(const_cast<void*>(pointer)));
  if (next == blocks.begin()) return false;
  auto block = std::prev(next);
  return pointer < block->first + block->second;
}

// What comes back from the device is zeros: no kernel has written there, and what lies there is another tensor's.
cudaError_t copy(void* to, const void* from, size_t bytes) {
  bool to_device = inside(device_blocks, to), from_device = inside(device_blocks, from);
  counts[SHIM_TO_DEVICE] += to_device && !from_device;
  counts[SHIM_TO_HOST] += from_device && !to_device;
  if (to_device) return cudaSuccess;
  if (from_device) memset(to, 0, bytes);
  else memcpy(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

// One operation on a stream: counted, or a node of the capture that the stream is in.
int shim_work(void* handle) {
  Lock lock(mutex_);
  Stream* stream = stream_of(static_cast<cudaStream_t>(handle));
  Capture* capture = stream->capture;
  if (!capture) {
    counts[SHIM_EAGER]++;
    return cudaSuccess;
  }
  if (capture->spoiled) return result(cudaErrorStreamCaptureInvalidated);
  capture->nodes.push_back(stream->after);
  stream->after = {int(capture->nodes.size()) - 1};
  counts[SHIM_CAPTURED]++;
  return cudaSuccess;
}

int shim_error(int error) { return result(cudaError_t(error)); }

int shim_allocates() {
  Lock lock(mutex_);
  return forbidden_in_capture();
}

// What Python asks.
API long shim_count(int which) { return counts[which]; }
API void shim_limit(size_t bytes) { limit = bytes; }
API size_t shim_used() { return used; }

// ---- errors
API cudaError_t cudaDeviceSynchronize() {
  Lock lock(mutex_);
  counts[SHIM_WAITS]++;
  return captures.empty() ? cudaSuccess : spoil(captures[0], cudaErrorStreamCaptureUnsupported);
}
API cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
API cudaError_t cudaPeekAtLastError() { return last_error; }
API const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined: return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureIsolation: return "dependency created on uncaptured work in another stream";
    default: return "an error of the counting shim";
  }
}
API const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
// ---- memory
API cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  Lock lock(mutex_);
  *pointer = nullptr;
  if (auto error = forbidden_in_capture()) return error;
  if (used + bytes > limit) return result(cudaErrorMemoryAllocation);
  size_t whole = (bytes + kPage - 1) / kPage * kPage;
  void* found = mmap(nullptr, whole + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return result(cudaErrorMemoryAllocation);
  char* aligned = reinterpret_cast<char*>((reinterpret_cast<size_t>(found) + kPage - 1) / kPage * kPage);
  device_blocks[aligned] = bytes;
  used += bytes;
  *pointer = aligned;
  return cudaSuccess;
}
API cudaError_t cudaFree(void* pointer) {
  Lock lock(mutex_);
  if (!pointer) return cudaSuccess;
  if (auto error = forbidden_in_capture()) return error;
  auto block = device_blocks.find(static_cast<char*>(pointer));
  if (block == device_blocks.end()) return result(cudaErrorInvalidValue);
  used -= block->second;
  munmap(pointer, (block->second + kPage - 1) / kPage * kPage);
  device_blocks.erase(block);
  return cudaSuccess;
}
API cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  Lock lock(mutex_);
  if (auto error = forbidden_in_capture()) return error;
  *pointer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  pinned_blocks[static_cast<char*>(*pointer)] = bytes;
  counts[SHIM_PINNED]++;
  return cudaSuccess;
}
API cudaError_t cudaFreeHost(void* pointer) {
  Lock lock(mutex_);
  pinned_blocks.erase(static_cast<char*>(pointer));
  free(pointer);
  return cudaSuccess;
}
API cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  Lock lock(mutex_);
  *free_bytes = limit - std::min(used, limit);
  *total = SHIM_MEMORY;
  return cudaSuccess;
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* pointer) {
  Lock lock(mutex_);
  memset(found, 0, sizeof *found);
  found->type = inside(device_blocks, pointer)   ? cudaMemoryTypeDevice
                : inside(pinned_blocks, pointer) ? cudaMemoryTypeHost
                                                 : cudaMemoryTypeUnregistered;
  if (found->type != cudaMemoryTypeUnregistered) found->devicePointer = const_cast<void*>(pointer);
  if (found->type != cudaMemoryTypeDevice) found->hostPointer = const_cast<void*>(pointer);
  return cudaSuccess;
}
API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  Lock lock(mutex_);
  if (int error = shim_work(stream)) return cudaError_t(error);
  return stream_of(stream)->capture ? cudaSuccess : copy(to, from, bytes);
}
API cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  Lock lock(mutex_);
  if (auto error = forbidden_in_capture()) return error;
  counts[SHIM_WAITS]++;
  return copy(to, from, bytes);
}
API cudaError_t cudaMemcpy2DAsync(
    void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind,
    cudaStream_t stream) {
  Lock lock(mutex_);
  if (int error = shim_work(stream)) return cudaError_t(error);
  if (stream_of(stream)->capture) return cudaSuccess;
  for (size_t row = 0; row < height; row++)
    copy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
  return cudaSuccess;
}
API cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t stream) { return cudaError_t(shim_work(stream)); }

// ---- streams and events
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  Lock lock(mutex_);
  streams.push_back(new Stream);
  *stream = reinterpret_cast<cudaStream_t>(streams.back());
  return cudaSuccess;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
API cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { *priority = 0; return cudaSuccess; }
static cudaError_t asked_of(cudaStream_t handle, bool waits) {
  Lock lock(mutex_);
  counts[SHIM_WAITS] += waits;
  Capture* capture = stream_of(handle)->capture;
  return capture ? spoil(capture, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
API cudaError_t cudaStreamQuery(cudaStream_t stream) { return asked_of(stream, false); }
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return asked_of(stream, true); }

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
API cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t event) { delete reinterpret_cast<Event*>(event); return cudaSuccess; }
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return cudaSuccess;
}
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream, unsigned) {
  Lock lock(mutex_);
  Stream* on = stream_of(stream);
  *reinterpret_cast<Event*>(handle) = {true, on->capture ? on->capture->id : 0, on->after};
  bool spoiled = on->capture && on->capture->spoiled;
  return spoiled ? result(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}
static cudaError_t asked_of(cudaEvent_t handle, bool waits) {
  Lock lock(mutex_);
  counts[SHIM_WAITS] += waits;
  Capture* capture = living(reinterpret_cast<Event*>(handle)->capture_id);
  return capture ? spoil(capture, cudaErrorCapturedEvent) : cudaSuccess;
}
API cudaError_t cudaEventQuery(cudaEvent_t event) { return asked_of(event, false); }
API cudaError_t cudaEventSynchronize(cudaEvent_t event) { return asked_of(event, true); }
// A stream that waits for an event of a capture becomes a part of it.
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t handle, unsigned) {
  Lock lock(mutex_);
  Stream* on = stream_of(stream);
  Event* event = reinterpret_cast<Event*>(handle);
  if (!event->recorded) return cudaSuccess;
  Capture* capture = living(event->capture_id);
  if (!capture) return on->capture ? spoil(on->capture, cudaErrorStreamCaptureIsolation) : cudaSuccess;
  if (on == &legacy) return spoil(capture, cudaErrorStreamCaptureImplicit);
  if (on->capture && on->capture != capture) return spoil(on->capture, cudaErrorStreamCaptureMerge);
  if (!on->capture) on->after.clear();
  on->capture = capture;
  on->after.insert(event->after.begin(), event->after.end());
  return cudaSuccess;
}

// ---- captures and graphs
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}
API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  Lock lock(mutex_);
  Stream* on = stream_of(stream);
  if (on == &legacy) return result(cudaErrorStreamCaptureUnsupported);
  if (on->capture) return result(cudaErrorIllegalState);
  on->capture = new Capture{++last_capture_id, on, mode, pthread_self()};
  on->after.clear();
  captures.push_back(on->capture);
  return cudaSuccess;
}
static cudaStreamCaptureStatus status_of(const Stream* stream) {
  if (!stream->capture) return cudaStreamCaptureStatusNone;
  return stream->capture->spoiled ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  Lock lock(mutex_);
  *status = status_of(stream_of(stream));
  return cudaSuccess;
}
API cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
    const cudaGraphNode_t** after, const cudaGraphEdgeData** edges, size_t* count) {
  Lock lock(mutex_);
  const Stream* on = stream_of(stream);
  *status = status_of(on);
  if (id) *id = on->capture ? on->capture->id : 0;
  if (graph) *graph = nullptr;
  if (after) *after = nullptr;
  if (edges) *edges = nullptr;
  if (count) *count = 0;
  return cudaSuccess;
}
// Every node of another stream has to lead to the stream that the capture began on.
API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Lock lock(mutex_);
  Stream* on = stream_of(stream);
  Capture* capture = on->capture;
  *graph = nullptr;
  if (!capture) return result(cudaErrorIllegalState);
  if (capture->origin != on) return result(cudaErrorStreamCaptureUnmatched);
  std::set<int> joined(on->after);
  for (int node = int(capture->nodes.size()) - 1; node >= 0; node--)
    if (joined.count(node)) joined.insert(capture->nodes[node].begin(), capture->nodes[node].end());
  bool away = false;
  for (Stream* other : streams) {
    if (other->capture != capture) continue;
    for (int node : other->after) away |= !joined.count(node);
    other->capture = nullptr;
    other->after.clear();
  }
  captures.erase(std::find(captures.begin(), captures.end(), capture));
  if (capture->spoiled) return result(cudaErrorStreamCaptureInvalidated);
  if (away) return result(cudaErrorStreamCaptureUnjoined);
  *graph = reinterpret_cast<cudaGraph_t>(new Graph{capture->nodes.size()});
  counts[SHIM_GRAPHS]++;
  return cudaSuccess;
}
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
  *ready = reinterpret_cast<cudaGraphExec_t>(graph);
  return cudaSuccess;
}
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiateWithFlags(ready, graph, flags);
}
API cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  Lock lock(mutex_);
  if (Capture* capture = stream_of(stream)->capture) return spoil(capture, cudaErrorStreamCaptureUnsupported);
  counts[SHIM_LAUNCHES]++;
  counts[SHIM_REPLAYED] += reinterpret_cast<Graph*>(graph)->nodes;
  return cudaSuccess;
}
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  Lock lock(mutex_);
  if (auto error = forbidden_in_capture()) return error;
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph ? reinterpret_cast<Graph*>(graph)->nodes : 0;
  return cudaSuccess;
}
