/*
 * What stands in for the encoding chip: a software encoder behind one small interface.
 *
 * nvenc.c translates NVENC's structures into `struct settings` and `struct frame`; x264.c and
 * x265.c encode them. The libraries are opened with RTLD_DEEPBIND, because an ffmpeg that has its
 * own copy inside exports symbols of the same names.
 */
#ifndef CODER_H
#define CODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum codec { CODEC_H264, CODEC_HEVC, CODEC_AV1 };

enum rate { RATE_CONSTANT_QP, RATE_QUALITY, RATE_BITRATE };

enum layout {
    LAYOUT_NV12, /* 8 bit, chroma interleaved */
    LAYOUT_YV12, /* 8 bit, V before U, chroma rows of half the pitch */
    LAYOUT_P010, /* 10 bit in the high bits of 16, chroma interleaved */
    LAYOUT_444,  /* 8 bit, three full planes */
};

/* Video usability information: what the numbers in the picture mean. */
struct colour {
    bool described;
    int full_range;
    int primaries;
    int transfer;
    int matrix;
};

struct settings {
    int width, height;
    int sar_width, sar_height;
    int fps_num, fps_den;
    int gop_frames; /* 0: no limit */
    int b_frames;
    enum rate rate;
    int qp_i, qp_p, qp_b;
    double quality;
    unsigned average_bps, max_bps, buffer_bits;
    bool lossless;
    bool headers_in_band;
    enum layout layout;
    const char *profile; /* x264's name of it, or NULL */
    struct colour colour;
};

struct frame {
    const uint8_t *data;
    size_t pitch;
    bool force_idr;
    uint64_t timestamp;
};

enum kind { KIND_IDR, KIND_I, KIND_P, KIND_B };

/* An encoded picture; `bytes` is on the heap and belongs to whoever has it. */
struct picture {
    uint8_t *bytes;
    size_t size;
    uint64_t timestamp;
    enum kind kind;
};

struct coder {
    /* Encode `frame`, or with NULL what is still inside. 1: `out` was written; 0: nothing yet, or
     * nothing left; negative: an error. */
    int (*encode)(struct coder *self, const struct frame *frame, struct picture *out);
    /* Parameter sets in Annex B; how many bytes were written to `to`, 0 if `room` is too small. */
    size_t (*headers)(struct coder *self, uint8_t *to, size_t room);
    void (*close)(struct coder *self);
};

/* NULL when the library is missing or refuses the settings; the reason is on stderr. */
struct coder *open_x264(const struct settings *settings);
struct coder *open_x265(const struct settings *settings);

/* Bytes that no decoder understands, for codecs that nothing stands in for. */
struct coder *open_placeholder(void);

#endif
