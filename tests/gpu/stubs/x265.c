/* HEVC by libx265, 8 or 10 bit: deterministic, no decisions of its own beyond rate control. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <x265.h>

#include "coder.h"
#include "fake.h"

#define TEXT_OF_TOKEN(token) #token
#define TEXT_OF(number) TEXT_OF_TOKEN(number)
#define LIBRARY_NAME(number) "libx265.so." TEXT_OF(number)
#define API_NAME(number) "x265_api_get_" TEXT_OF(number)

struct x265_coder {
    struct coder coder;
    struct settings settings;
    const x265_api *api;
    x265_param *param;
    x265_encoder *encoder;
    x265_picture *in, *out;
    uint8_t *planar; /* The picture that x265 is being given: it takes separate planes only. */
};

static size_t sample_bytes(const struct settings *settings)
{
    return settings->layout == LAYOUT_P010 ? 2 : 1;
}

static void set(struct x265_coder *self, const char *name, const char *format, double value)
{
    char text[64];
    snprintf(text, sizeof text, format, value);
    self->api->param_parse(self->param, name, text);
}

static void set_rate(struct x265_coder *self, const struct settings *from)
{
    if (from->lossless) {
        set(self, "lossless", "%.0f", 1);
        return;
    }
    if (from->rate == RATE_CONSTANT_QP)
        set(self, "qp", "%.0f", from->qp_p > 0 ? from->qp_p : 1);
    else if (from->rate == RATE_QUALITY)
        set(self, "crf", "%.3f", from->quality);
    else
        set(self, "bitrate", "%.0f", from->average_bps / 1000.0);
    if (from->max_bps && from->rate != RATE_CONSTANT_QP) {
        unsigned buffer = from->buffer_bits ? from->buffer_bits : 2 * from->max_bps;
        set(self, "vbv-maxrate", "%.0f", from->max_bps / 1000.0);
        set(self, "vbv-bufsize", "%.0f", buffer / 1000.0);
    }
}

static void set_stream(struct x265_coder *self, const struct settings *from)
{
    x265_param *to = self->param;
    to->sourceWidth = from->width;
    to->sourceHeight = from->height;
    to->fpsNum = (uint32_t)from->fps_num;
    to->fpsDenom = (uint32_t)from->fps_den;
    to->internalCsp = from->layout == LAYOUT_444 ? X265_CSP_I444 : X265_CSP_I420;
    to->logLevel = X265_LOG_ERROR;
    to->bAnnexB = 1;
    to->bEmitInfoSEI = 0;
    if (from->sar_width != from->sar_height) {
        to->vui.aspectRatioIdc = X265_EXTENDED_SAR;
        to->vui.sarWidth = from->sar_width;
        to->vui.sarHeight = from->sar_height;
    }
    if (from->colour.described) {
        to->vui.bEnableVideoSignalTypePresentFlag = 1;
        to->vui.bEnableVideoFullRangeFlag = from->colour.full_range;
        to->vui.bEnableColorDescriptionPresentFlag = 1;
        to->vui.colorPrimaries = from->colour.primaries;
        to->vui.transferCharacteristics = from->colour.transfer;
        to->vui.matrixCoeffs = from->colour.matrix;
    }
    set(self, "repeat-headers", "%.0f", from->headers_in_band);
}

static void set_structure(struct x265_coder *self, const struct settings *from)
{
    set(self, "keyint", "%.0f", from->gop_frames ? from->gop_frames : -1);
    set(self, "min-keyint", "%.0f", from->gop_frames ? from->gop_frames : 1);
    set(self, "scenecut", "%.0f", 0);
    set(self, "open-gop", "%.0f", 0);
    set(self, "bframes", "%.0f", from->b_frames);
    set(self, "b-adapt", "%.0f", 0);
    set(self, "b-pyramid", "%.0f", 0);
    set(self, "rc-lookahead", "%.0f", from->b_frames ? from->b_frames + 1 : 0);
    set(self, "cutree", "%.0f", 0);
    set(self, "frame-threads", "%.0f", 1);
    self->api->param_parse(self->param, "pools", "none");
    self->api->param_parse(self->param, "wpp", "0");
}

static bool is_information(const x265_nal *nal)
{
    return nal->type == NAL_UNIT_PREFIX_SEI || nal->type == NAL_UNIT_SUFFIX_SEI;
}

static size_t gather(const x265_nal *nals, uint32_t count, uint8_t *to, size_t room)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_information(&nals[i]))
            continue;
        if (size + nals[i].sizeBytes > room)
            return 0;
        memcpy(to + size, nals[i].payload, nals[i].sizeBytes);
        size += nals[i].sizeBytes;
    }
    return size;
}

/* One sample of interleaved chroma or of P010 luma becomes one of a plane. */
static void copy_samples(uint8_t *to, const uint8_t *from, int samples, int step, size_t bytes)
{
    for (int i = 0; i < samples; i++) {
        if (bytes == 1) {
            to[i] = from[i * step];
        } else {
            uint16_t sample = (uint16_t)(((const uint16_t *)from)[i * step] >> 6);
            memcpy(to + 2 * i, &sample, 2);
        }
    }
}

static void describe(struct x265_coder *self, const struct frame *frame)
{
    const struct settings *settings = &self->settings;
    size_t bytes = sample_bytes(settings);
    int width = settings->width, height = settings->height;
    bool full = settings->layout == LAYOUT_444;
    bool planar = full || settings->layout == LAYOUT_YV12;
    int chroma_width = full ? width : (width + 1) / 2;
    int chroma_height = full ? height : (height + 1) / 2;
    const uint8_t *chroma = frame->data + frame->pitch * (size_t)height;
    uint8_t *to = self->planar;
    x265_picture *in = self->in;
    for (int plane = 0; plane < 3; plane++) {
        int columns = plane ? chroma_width : width, rows = plane ? chroma_height : height;
        size_t pitch = planar && plane && !full ? frame->pitch / 2 : frame->pitch;
        const uint8_t *from = frame->data;
        if (plane && planar)
            /* YV12 has V first. */
            from = chroma + (size_t)((full ? plane == 2 : plane == 1) ? rows : 0) * pitch;
        else if (plane)
            from = chroma + (size_t)(plane - 1) * bytes;
        in->planes[plane] = to;
        in->stride[plane] = columns * (int)bytes;
        for (int row = 0; row < rows; row++, to += (size_t)columns * bytes)
            copy_samples(to, from + (size_t)row * pitch, columns, plane && !planar ? 2 : 1, bytes);
    }
    in->bitDepth = bytes == 2 ? 10 : 8;
    in->colorSpace = self->param->internalCsp;
    in->pts = (int64_t)frame->timestamp;
    in->sliceType = frame->force_idr ? X265_TYPE_IDR : X265_TYPE_AUTO;
}

static int encode(struct coder *coder, const struct frame *frame, struct picture *out)
{
    struct x265_coder *self = (struct x265_coder *)coder;
    x265_nal *nals = NULL;
    uint32_t count = 0;
    if (frame)
        describe(self, frame);
    x265_picture *in = frame ? self->in : NULL;
    int got = self->api->encoder_encode(self->encoder, &nals, &count, in, self->out);
    if (got <= 0)
        return got;
    size_t room = 0;
    for (uint32_t i = 0; i < count; i++)
        room += nals[i].sizeBytes;
    out->bytes = malloc(room);
    out->size = gather(nals, count, out->bytes, room);
    out->timestamp = (uint64_t)self->out->pts;
    out->kind = self->out->sliceType == X265_TYPE_IDR ? KIND_IDR
                : self->out->sliceType == X265_TYPE_I ? KIND_I
                : self->out->sliceType == X265_TYPE_P ? KIND_P
                                                      : KIND_B;
    return 1;
}

static size_t headers(struct coder *coder, uint8_t *to, size_t room)
{
    struct x265_coder *self = (struct x265_coder *)coder;
    x265_nal *nals;
    uint32_t count;
    if (self->api->encoder_headers(self->encoder, &nals, &count) < 0)
        return 0;
    return gather(nals, count, to, room);
}

static void close_x265(struct coder *coder)
{
    struct x265_coder *self = (struct x265_coder *)coder;
    if (self->encoder)
        self->api->encoder_close(self->encoder);
    self->api->picture_free(self->in);
    self->api->picture_free(self->out);
    self->api->param_free(self->param);
    free(self->planar);
    free(self);
}

struct coder *open_x265(const struct settings *settings)
{
    void *library = dlopen(LIBRARY_NAME(X265_BUILD), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    const x265_api *(*get)(int) = library ? dlsym(library, API_NAME(X265_BUILD)) : NULL;
    const x265_api *api = get ? get(settings->layout == LAYOUT_P010 ? 10 : 8) : NULL;
    if (!api) {
        fprintf(stderr, "fake nvenc: no libx265 of this depth: %s\n", dlerror());
        return NULL;
    }
    struct x265_coder *self = calloc(1, sizeof *self);
    self->coder = (struct coder){encode, headers, close_x265};
    self->settings = *settings;
    self->api = api;
    self->param = api->param_alloc();
    self->in = api->picture_alloc();
    self->out = api->picture_alloc();
    size_t samples = (size_t)(settings->width + 1) * (size_t)(settings->height + 1) * 3;
    self->planar = calloc(samples, sample_bytes(settings));
    api->param_default_preset(self->param, fake_text("FAKE_NV_EFFORT", "ultrafast"), NULL);
    set_stream(self, settings);
    set_structure(self, settings);
    set_rate(self, settings);
    api->picture_init(self->param, self->in);
    self->encoder = api->encoder_open(self->param);
    if (self->encoder)
        return &self->coder;
    close_x265(&self->coder);
    return NULL;
}
