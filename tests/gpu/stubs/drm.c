/*
 * Preloaded stub of the kernel's side of render nodes: paths that open though there is no such
 * device, and libdrm's answers about them. Every open device passes for a render node.
 *
 * fake.h lists the variables.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>

#include "fake.h"

/* libdrm's node type of a render node. */
#define RENDER_NODE 2

/* As xf86drm.h lays it out. */
typedef struct {
    int major, minor, patch;
    int name_length;
    char *name;
    int date_length;
    char *date;
    int description_length;
    char *description;
} drm_version;

int drmGetNodeTypeFromFd(int file)
{
    return RENDER_NODE;
}

drm_version *drmGetVersion(int file)
{
    drm_version *version = calloc(1, sizeof *version);
    version->name = strdup(fake_text("FAKE_DRM_DRIVER", "i915"));
    version->name_length = (int)strlen(version->name);
    version->date = strdup("");
    version->description = strdup("");
    return version;
}

void drmFreeVersion(drm_version *version)
{
    if (!version)
        return;
    free(version->name);
    free(version->date);
    free(version->description);
    free(version);
}

static int open_instead(const char *name, const char *path, int flags, mode_t mode)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    const char *device = fake_node(path);
    if (device && fake_listed(fake_text("FAKE_DRM_DENIED", ""), path)) {
        errno = EACCES;
        return -1;
    }
    return real(device ? device : path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_instead("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_instead("open64", path, flags, mode);
}
