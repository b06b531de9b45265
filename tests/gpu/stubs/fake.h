/*
 * Stub drivers that let a real ffmpeg run its NVENC and VAAPI code where there is no GPU.
 *
 * They serve tests only. What each is told, and what it is told to get wrong, comes from the
 * environment; a variable that is not set means a device that works.
 *
 * All:
 *   FAKE_DUMP            Where to report what the driver was asked for: the path of a file, which
 *                        is appended to, or 1 for stderr. One line each, "FAKE what key=value ...".
 *
 * libcuda.so.1 (cuda.c):
 *   FAKE_CUDA_INIT       CUresult of cuInit: 100 no device, 803 driver mismatch, 999 unknown.
 *   FAKE_CUDA_GPUS       Number of GPUs (1).
 *   FAKE_CUDA_CONTEXT    CUresult of cuCtxCreate: 2 out of memory.
 *   FAKE_CUDA_SM         Compute capability times ten (89).
 *
 * libnvidia-encode.so.1 (nvenc.c):
 *   FAKE_NV_API          Newest API version of the driver, as "11.1" (13.15: newer than any).
 *   FAKE_NV_OPEN         NVENCSTATUS of opening a session: 2 unsupported device, 10 out of memory,
 *                        15 invalid version.
 *   FAKE_NV_SIGNAL       Number of the signal that ends the process when a session is opened: 11.
 *   FAKE_NV_WITHOUT      Numbers of GPUs without NVENC, with commas: opening there is status 2.
 *   FAKE_NV_SESSIONS     Sessions that all processes together may have open; 0 is no limit. One
 *                        more is NV_ENC_ERR_OUT_OF_MEMORY. Needs FAKE_NV_SESSION_DIR.
 *   FAKE_NV_SESSION_DIR  Directory of the files whose locks are the sessions.
 *   FAKE_NV_INIT         NVENCSTATUS of initialising the encoder.
 *   FAKE_NV_LAST_ERROR   Text of nvEncGetLastErrorString.
 *   FAKE_NV_PICTURE      Number of the picture, from 0, at which encoding fails with status 20.
 *   FAKE_NV_FRAME_MS     Milliseconds that each picture takes at least (0).
 *   FAKE_NV_CODECS       Codecs, with commas ("h264,hevc,av1").
 *   FAKE_NV_H264_10BIT   1 where it does 10 bit in H.264 too (0).
 *   FAKE_NV_10BIT, FAKE_NV_444, FAKE_NV_LOSSLESS, FAKE_NV_LOOKAHEAD, FAKE_NV_TEMPORAL_AQ,
 *   FAKE_NV_WEIGHTED     0 where the GPU cannot do it (1).
 *   FAKE_NV_BREF         B-frames as references: 1 each, 2 middle, 3 both, 0 none (3).
 *   FAKE_NV_BFRAMES      Most B-frames between references (4).
 *   FAKE_NV_MIN_WIDTH, FAKE_NV_MIN_HEIGHT, FAKE_NV_MAX_WIDTH, FAKE_NV_MAX_HEIGHT
 *                        Sizes in pixels (145, 49, 8192, 8192).
 *   FAKE_NV_EFFORT       Preset of the x264 or x265 that stands in for the chip ("ultrafast").
 *
 * fake_drv_video.so (va.c), a VA driver:
 *   FAKE_VA_INIT         VAStatus of the driver's initialisation.
 *   FAKE_VA_BROKEN       Render node on which initialisation fails, as in FAKE_DRM_NODES.
 *   FAKE_VA_VENDOR       Vendor string ("Fake VA driver").
 *   FAKE_VA_ENTRYPOINTS  1 EncSlice, 2 EncSliceLP (low power), 3 both, 0 decodes only (1).
 *   FAKE_VA_HEVC, FAKE_VA_10BIT, FAKE_VA_VP9, FAKE_VA_AV1
 *                        0 where the driver has no such profile (1).
 *   FAKE_VA_RC           Rate control modes, VA_RC_*: 0x10 CQP only, 0x16 as AMD's (all).
 *   FAKE_VA_REFERENCES   VAConfigAttribEncMaxRefFrames: 0 is intra only, 1 is without B (0x10001).
 *   FAKE_VA_HEADERS      VAConfigAttribEncPackedHeaders (0x1f).
 *   FAKE_VA_QUALITY      Number of quality levels (7).
 *   FAKE_VA_MIN_WIDTH, FAKE_VA_MIN_HEIGHT, FAKE_VA_MAX_WIDTH, FAKE_VA_MAX_HEIGHT
 *                        Sizes in pixels (128, 128, 4096, 4096).
 *   FAKE_VA_CONFIG, FAKE_VA_CONTEXT, FAKE_VA_END
 *                        VAStatus of vaCreateConfig, vaCreateContext, vaEndPicture.
 *
 * libfakedrm.so (drm.c), to be preloaded: render nodes that the system has not.
 *   FAKE_DRM_NODES       Paths that open as if they were render nodes, with commas; three at most.
 *   FAKE_DRM_DENIED      Those of them that this user may not open, with commas.
 *   FAKE_DRM_DRIVER      Kernel driver of every device ("i915").
 *
 * libfakelibva.so (libva.c), to be preloaded: gives a libva before 2.21 its vaMapBuffer2.
 */
#ifndef FAKE_H
#define FAKE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number in a variable, decimal or 0x, or `otherwise`. */
static inline long fake_number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 0) : otherwise;
}

/* The text in a variable, or `otherwise`. */
static inline const char *fake_text(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text ? text : otherwise;
}

/* Whether `word` is one of the words, separated by commas, of `list`. */
static inline bool fake_listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length) {
        bool starts = at == list || at[-1] == ',';
        if (starts && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* The device that is opened in place of a render node of FAKE_DRM_NODES; NULL for other paths. */
static inline const char *fake_node(const char *path)
{
    static const char *const devices[] = {"/dev/zero", "/dev/full", "/dev/null"};
    const char *nodes = fake_text("FAKE_DRM_NODES", "");
    if (!fake_listed(nodes, path))
        return NULL;
    int before = 0;
    for (const char *at = nodes; at < strstr(nodes, path); at++)
        before += *at == ',';
    return devices[before % 3];
}

/* Report one line if somebody wants to know. A single write keeps lines of processes apart. */
__attribute__((format(printf, 1, 2))) static inline void fake_dump(const char *format, ...)
{
    const char *where = getenv("FAKE_DUMP");
    if (!where || !*where)
        return;
    char line[2048] = "FAKE ";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + 5, sizeof line - 6, format, arguments);
    va_end(arguments);
    strcat(line, "\n");
    FILE *to = strcmp(where, "1") ? fopen(where, "a") : stderr;
    if (!to)
        return;
    fputs(line, to);
    if (to == stderr)
        fflush(to);
    else
        fclose(to);
}

#endif
