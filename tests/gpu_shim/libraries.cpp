// cuBLAS and the driver, as far as torch calls them: products are counted. And what of the runtime has nothing to do.
// See runtime.cpp.
//
// Functions have C names, so only the arguments that are looked at are declared: on x86-64 the caller passes and clears
// the others.
#include <cstdlib>
#include <cstring>

#include "shim.h"

namespace {
struct Handle {
  void* stream;
  int math;
};
enum { OK = 0, NOT_INITIALIZED = 1, EXECUTION_FAILED = 13 };
int product(void* stream) { return shim_work(stream) ? EXECUTION_FAILED : OK; }
int make(void** descriptor) { *descriptor = calloc(1, 64); return OK; }
int drop(void* descriptor) { free(descriptor); return OK; }
}  // namespace

API int cublasCreate_v2(Handle** handle) {
  if (shim_allocates()) return NOT_INITIALIZED;
  *handle = new Handle{};
  return OK;
}
API int cublasSetStream_v2(Handle* handle, void* stream) { handle->stream = stream; return OK; }
API int cublasSetMathMode(Handle* handle, int mode) { handle->math = mode; return OK; }
API int cublasGetMathMode(Handle* handle, int* mode) { *mode = handle->math; return OK; }
API int cublasGetPointerMode_v2(Handle*, int* mode) { *mode = 0; return OK; }
NOTHING_TO_DO(cublasDestroy_v2)
NOTHING_TO_DO(cublasSetWorkspace_v2)
NOTHING_TO_DO(cublasSetPointerMode_v2)
#define PRODUCT(name) API int name(Handle* handle) { return product(handle->stream); }
PRODUCT(cublasSgemm_v2)
PRODUCT(cublasSgemmEx)
PRODUCT(cublasGemmEx)
PRODUCT(cublasSgemmStridedBatched)
PRODUCT(cublasGemmStridedBatchedEx)
PRODUCT(cublasSgemv_v2)
PRODUCT(cublasSdot_v2)

API int cublasLtMatmulDescCreate(void** d) { return make(d); }
API int cublasLtMatmulPreferenceCreate(void** d) { return make(d); }
API int cublasLtMatrixLayoutCreate(void** d) { return make(d); }
API int cublasLtMatmulDescDestroy(void* d) { return drop(d); }
API int cublasLtMatmulPreferenceDestroy(void* d) { return drop(d); }
API int cublasLtMatrixLayoutDestroy(void* d) { return drop(d); }
NOTHING_TO_DO(cublasLtMatmulDescSetAttribute)
NOTHING_TO_DO(cublasLtMatmulPreferenceSetAttribute)
NOTHING_TO_DO(cublasLtMatrixLayoutSetAttribute)
// One choice; nothing is read of it.
API int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int* found) {
  *found = 1;
  return OK;
}
API int cublasLtMatmul(
    void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, size_t,
    void* stream) {
  return product(stream);
}

// ---- the driver: there is a context, nothing else is asked of it
NOTHING_TO_DO(shim_driver_call)  // any other
NOTHING_TO_DO(cuInit)
NOTHING_TO_DO(cuCtxSetCurrent)
NOTHING_TO_DO(cuFuncGetAttribute)
NOTHING_TO_DO(cuFuncSetAttribute)
NOTHING_TO_DO(cuFuncSetCacheConfig)
NOTHING_TO_DO(cuLaunchCooperativeKernel)
NOTHING_TO_DO(cuLaunchKernel)
NOTHING_TO_DO(cuLinkAddData_v2)
NOTHING_TO_DO(cuLinkComplete)
NOTHING_TO_DO(cuLinkCreate_v2)
NOTHING_TO_DO(cuModuleGetFunction)
NOTHING_TO_DO(cuModuleLoad)
NOTHING_TO_DO(cuModuleLoadData)
NOTHING_TO_DO(cuModuleLoadDataEx)
NOTHING_TO_DO(cuModuleUnload)
NOTHING_TO_DO(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOTHING_TO_DO(cuTensorMapEncodeTiled)
NOTHING_TO_DO(cuDeviceGetCount)
NOTHING_TO_DO(cuMemGetAddressRange_v2)
NOTHING_TO_DO(cuPointerGetAttribute)
API int cuCtxGetCurrent(void** context) { *context = reinterpret_cast<void*>(16); return 0; }
API int cuDevicePrimaryCtxRetain(void** context, int) { *context = reinterpret_cast<void*>(16); return 0; }
API int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
  if (flags) *flags = 0;
  *active = 1;
  return 0;
}
API int cuDeviceGet(int* device, int number) { *device = number; return 0; }
API int cuDeviceGetAttribute(int* value, int, int) { *value = 0; return 0; }
API int cuGetErrorString(int, const char** text) { *text = "an error of the counting shim"; return 0; }

// ---- of the runtime
NOTHING_TO_DO(cudaDeviceEnablePeerAccess)
NOTHING_TO_DO(cudaProfilerStart)
NOTHING_TO_DO(cudaProfilerStop)
NOTHING_TO_DO(cudaFuncSetAttribute)
NOTHING_TO_DO(cudaSetDevice)
NOTHING_TO_DO(cudaHostRegister)
NOTHING_TO_DO(cudaHostUnregister)
NOTHING_TO_DO(cudaMemcpyToSymbol)
NOTHING_TO_DO(cudaMemPoolSetAttribute)
NOTHING_TO_DO(cudaMemPoolSetAccess)
NOTHING_TO_DO(cudaMemPoolTrimTo)
NOTHING_TO_DO(cudaIpcCloseMemHandle)
NOTHING_TO_DO(cudaStreamDestroy)
NOTHING_TO_DO(cudaLaunchHostFunc)
NOTHING_TO_DO(cudaGraphDestroy)
NOTHING_TO_DO(cudaGraphDebugDotPrint)
NOTHING_TO_DO(__cudaRegisterFatBinaryEnd)
NOTHING_TO_DO(__cudaUnregisterFatBinary)
NOTHING_TO_DO(__cudaRegisterFunction)
NOTHING_TO_DO(__cudaRegisterVar)
NOTHING_TO_DO(__cudaInitModule)
