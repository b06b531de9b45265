/*
 * Preloaded: gives a libva before 2.21 the function that newer ffmpeg builds abort without.
 *
 * Such a build resolves vaMapBuffer2 with dlsym and ends itself when it is missing. Here it finds
 * one that ignores the flags, which are hints, and calls vaMapBuffer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include <va/va.h>

typedef void *lookup(void *, const char *);
typedef VAStatus map_buffer(VADisplay, VABufferID, void **);

static lookup *real_dlsym(void)
{
    /* x86-64 from its first glibc, aarch64 from its first, and any from 2.34. */
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.34"};
    void *found = NULL;
    for (int i = 0; !found && i < 3; i++)
        found = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    return (lookup *)found;
}

static VAStatus map_buffer_2(VADisplay display, VABufferID buffer, void **data, uint32_t flags)
{
    map_buffer *map = (map_buffer *)real_dlsym()(RTLD_DEFAULT, "vaMapBuffer");
    if (!map) {
        void *library = dlopen("libva.so.2", RTLD_NOW);
        map = library ? (map_buffer *)real_dlsym()(library, "vaMapBuffer") : NULL;
    }
    return map ? map(display, buffer, data) : VA_STATUS_ERROR_UNIMPLEMENTED;
}

void *dlsym(void *library, const char *name)
{
    void *found = real_dlsym()(library, name);
    return found || strcmp(name, "vaMapBuffer2") ? found : (void *)map_buffer_2;
}
