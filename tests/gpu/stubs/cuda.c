/*
 * Stub of libcuda.so.1: as many GPUs as FAKE_CUDA_GPUS says, whose memory is this process's own.
 *
 * Of the functions that ffmpeg resolves, those that enumerate devices, open contexts and move
 * pictures do their work; all others succeed and do nothing. fake.h lists the variables.
 */
#include <ffnvcodec/dynlink_cuda.h>

#include "fake.h"

/* Contexts are opaque to ffmpeg: a small address says which GPU one belongs to. nvenc.c knows. */
#define CONTEXT_BASE 0x1000

#define NO_DEVICE 100
#define INVALID_DEVICE 101

static __thread CUcontext current;

static int gpus(void)
{
    return (int)fake_number("FAKE_CUDA_GPUS", 1);
}

static CUcontext context_of(CUdevice device)
{
    return (CUcontext)(size_t)(CONTEXT_BASE + device);
}

CUresult cuInit(unsigned int flags)
{
    return (CUresult)fake_number("FAKE_CUDA_INIT", 0);
}

CUresult cuDriverGetVersion(int *version)
{
    *version = 12080;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    *count = gpus();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (ordinal < 0 || ordinal >= gpus())
        return (CUresult)INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "Fake GPU %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    long capability = fake_number("FAKE_CUDA_SM", 89);
    *major = (int)capability / 10;
    *minor = (int)capability % 10;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    *value = 1;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device)
{
    CUresult result = (CUresult)fake_number("FAKE_CUDA_CONTEXT", 0);
    if (result == CUDA_SUCCESS)
        current = *context = context_of(device);
    return result;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    *context = context_of(device);
    return (CUresult)fake_number("FAKE_CUDA_CONTEXT", 0);
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    *context = current;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    *device = current ? (int)((size_t)current - CONTEXT_BASE) : 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    current = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    if (context)
        *context = current;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
    *address = (CUdeviceptr)calloc(1, size);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                            unsigned int element)
{
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc_v2(address, *pitch * height);
}

CUresult cuMemFree_v2(CUdeviceptr address)
{
    free((void *)address);
    return CUDA_SUCCESS;
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
    const char *from = copy->srcMemoryType == CU_MEMORYTYPE_HOST ? copy->srcHost
                                                                  : (void *)copy->srcDevice;
    char *to = copy->dstMemoryType == CU_MEMORYTYPE_HOST ? copy->dstHost : (void *)copy->dstDevice;
    from += copy->srcY * copy->srcPitch + copy->srcXInBytes;
    to += copy->dstY * copy->dstPitch + copy->dstXInBytes;
    for (size_t row = 0; row < copy->Height; row++)
        memcpy(to + row * copy->dstPitch, from + row * copy->srcPitch, copy->WidthInBytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    return cuMemcpy2D_v2(copy);
}

static const struct {
    int number;
    const char *name;
    const char *text;
} ERRORS[] = {
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = "CUDA_ERROR_OTHER";
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].number == (int)error)
            *name = ERRORS[i].name;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    *text = "other error";
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].number == (int)error)
            *text = ERRORS[i].text;
    return CUDA_SUCCESS;
}

/* ffmpeg refuses the library unless it has all of these, though it calls none in these tests. */
#define SUCCEEDS(name) \
    CUresult name(void) \
    { \
        return CUDA_SUCCESS; \
    }

SUCCEEDS(cuArray3DCreate_v2)
SUCCEEDS(cuArray3DGetDescriptor_v2)
SUCCEEDS(cuArrayCreate_v2)
SUCCEEDS(cuArrayDestroy)
SUCCEEDS(cuCtxDestroy_v2)
SUCCEEDS(cuCtxGetStreamPriorityRange)
SUCCEEDS(cuCtxSetLimit)
SUCCEEDS(cuCtxSynchronize)
SUCCEEDS(cuD3D11GetDevice)
SUCCEEDS(cuD3D11GetDevices)
SUCCEEDS(cuDestroyExternalMemory)
SUCCEEDS(cuDestroyExternalSemaphore)
SUCCEEDS(cuDeviceGetByPCIBusId)
SUCCEEDS(cuDeviceGetLuid)
SUCCEEDS(cuDeviceGetPCIBusId)
SUCCEEDS(cuDeviceGetUuid)
SUCCEEDS(cuDeviceGetUuid_v2)
SUCCEEDS(cuDevicePrimaryCtxGetState)
SUCCEEDS(cuDevicePrimaryCtxRelease)
SUCCEEDS(cuDevicePrimaryCtxReset)
SUCCEEDS(cuDevicePrimaryCtxSetFlags)
SUCCEEDS(cuEGLStreamConsumerDisconnect)
SUCCEEDS(cuEGLStreamProducerConnect)
SUCCEEDS(cuEGLStreamProducerDisconnect)
SUCCEEDS(cuEGLStreamProducerPresentFrame)
SUCCEEDS(cuEGLStreamProducerReturnFrame)
SUCCEEDS(cuEventCreate)
SUCCEEDS(cuEventDestroy_v2)
SUCCEEDS(cuEventQuery)
SUCCEEDS(cuEventRecord)
SUCCEEDS(cuEventSynchronize)
SUCCEEDS(cuExternalMemoryGetMappedBuffer)
SUCCEEDS(cuExternalMemoryGetMappedMipmappedArray)
SUCCEEDS(cuGLGetDevices_v2)
SUCCEEDS(cuGraphicsD3D11RegisterResource)
SUCCEEDS(cuGraphicsGLRegisterImage)
SUCCEEDS(cuGraphicsMapResources)
SUCCEEDS(cuGraphicsResourceGetMappedPointer_v2)
SUCCEEDS(cuGraphicsSubResourceGetMappedArray)
SUCCEEDS(cuGraphicsUnmapResources)
SUCCEEDS(cuGraphicsUnregisterResource)
SUCCEEDS(cuImportExternalMemory)
SUCCEEDS(cuImportExternalSemaphore)
SUCCEEDS(cuLaunchHostFunc)
SUCCEEDS(cuLaunchKernel)
SUCCEEDS(cuLinkAddData)
SUCCEEDS(cuLinkComplete)
SUCCEEDS(cuLinkCreate)
SUCCEEDS(cuLinkDestroy)
SUCCEEDS(cuMemAllocAsync)
SUCCEEDS(cuMemAllocManaged)
SUCCEEDS(cuMemFreeAsync)
SUCCEEDS(cuMemFreeHost)
SUCCEEDS(cuMemHostAlloc)
SUCCEEDS(cuMemcpy)
SUCCEEDS(cuMemcpyAsync)
SUCCEEDS(cuMemcpyDtoDAsync_v2)
SUCCEEDS(cuMemcpyDtoD_v2)
SUCCEEDS(cuMemcpyDtoHAsync_v2)
SUCCEEDS(cuMemcpyDtoH_v2)
SUCCEEDS(cuMemcpyHtoDAsync_v2)
SUCCEEDS(cuMemcpyHtoD_v2)
SUCCEEDS(cuMemsetD16Async)
SUCCEEDS(cuMemsetD2D16Async)
SUCCEEDS(cuMemsetD2D32Async)
SUCCEEDS(cuMemsetD2D8Async)
SUCCEEDS(cuMemsetD32Async)
SUCCEEDS(cuMemsetD8Async)
SUCCEEDS(cuMipmappedArrayDestroy)
SUCCEEDS(cuMipmappedArrayGetLevel)
SUCCEEDS(cuModuleGetFunction)
SUCCEEDS(cuModuleGetGlobal)
SUCCEEDS(cuModuleLoadData)
SUCCEEDS(cuModuleUnload)
SUCCEEDS(cuSignalExternalSemaphoresAsync)
SUCCEEDS(cuStreamAddCallback)
SUCCEEDS(cuStreamCreate)
SUCCEEDS(cuStreamCreateWithPriority)
SUCCEEDS(cuStreamDestroy_v2)
SUCCEEDS(cuStreamQuery)
SUCCEEDS(cuStreamSynchronize)
SUCCEEDS(cuStreamWaitEvent)
SUCCEEDS(cuTexObjectCreate)
SUCCEEDS(cuTexObjectDestroy)
SUCCEEDS(cuWaitExternalSemaphoresAsync)
