/* H.264 by libx264: deterministic, one thread, no decisions of its own beyond rate control. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <x264.h>

#include "coder.h"
#include "fake.h"

#define TEXT_OF_TOKEN(token) #token
#define TEXT_OF(number) TEXT_OF_TOKEN(number)
#define LIBRARY_NAME(number) "libx264.so." TEXT_OF(number)
#define OPEN_NAME(number) "x264_encoder_open_" TEXT_OF(number)

struct x264_coder {
    struct coder coder;
    struct settings settings;
    x264_t *encoder;
    int (*encode)(x264_t *, x264_nal_t **, int *, x264_picture_t *, x264_picture_t *);
    int (*headers)(x264_t *, x264_nal_t **, int *);
    int (*delayed)(x264_t *);
    void (*close)(x264_t *);
    void (*picture_init)(x264_picture_t *);
};

static void set_rate(const struct settings *from, x264_param_t *to)
{
    if (from->lossless || from->rate == RATE_CONSTANT_QP) {
        to->rc.i_rc_method = X264_RC_CQP;
        /* x264's QP 0 is lossless; NVENC's is merely the finest. */
        to->rc.i_qp_constant = from->lossless ? 0 : from->qp_p > 0 ? from->qp_p : 1;
        to->rc.f_ip_factor = (float)pow(2, (from->qp_p - from->qp_i) / 6.0);
        to->rc.f_pb_factor = (float)pow(2, (from->qp_b - from->qp_p) / 6.0);
        return;
    }
    if (from->rate == RATE_QUALITY) {
        to->rc.i_rc_method = X264_RC_CRF;
        to->rc.f_rf_constant = (float)from->quality;
    } else {
        to->rc.i_rc_method = X264_RC_ABR;
        to->rc.i_bitrate = (int)(from->average_bps / 1000);
    }
    if (from->max_bps) {
        unsigned buffer = from->buffer_bits ? from->buffer_bits : 2 * from->max_bps;
        to->rc.i_vbv_max_bitrate = (int)(from->max_bps / 1000);
        to->rc.i_vbv_buffer_size = (int)(buffer / 1000);
    }
}

static void set_stream(const struct settings *from, x264_param_t *to)
{
    to->i_width = from->width;
    to->i_height = from->height;
    to->i_csp = from->layout == LAYOUT_444    ? X264_CSP_I444
                : from->layout == LAYOUT_YV12 ? X264_CSP_YV12
                                              : X264_CSP_NV12;
    to->vui.i_sar_width = from->sar_width;
    to->vui.i_sar_height = from->sar_height;
    to->i_fps_num = (uint32_t)from->fps_num;
    to->i_fps_den = (uint32_t)from->fps_den;
    if (from->colour.described) {
        to->vui.b_fullrange = from->colour.full_range;
        to->vui.i_colorprim = from->colour.primaries;
        to->vui.i_transfer = from->colour.transfer;
        to->vui.i_colmatrix = from->colour.matrix;
    }
    /* The fastest presets leave out what the chip always does where the profile has it. */
    bool baseline = from->profile && !strcmp(from->profile, "baseline");
    to->b_cabac = !baseline;
    to->analyse.b_transform_8x8 = !baseline && (!from->profile || strcmp(from->profile, "main"));
    to->b_vfr_input = 0;
    to->b_annexb = 1;
    to->b_repeat_headers = from->headers_in_band;
}

static void set_structure(const struct settings *from, x264_param_t *to)
{
    to->i_keyint_max = from->gop_frames ? from->gop_frames : X264_KEYINT_MAX_INFINITE;
    to->i_keyint_min = to->i_keyint_max;
    to->i_scenecut_threshold = 0;
    to->i_bframe = from->b_frames;
    to->i_bframe_adaptive = X264_B_ADAPT_NONE;
    to->i_bframe_pyramid = X264_B_PYRAMID_NONE;
    to->b_open_gop = 0;
    to->i_threads = 1;
    to->i_lookahead_threads = 1;
    to->i_sync_lookahead = 0;
    to->rc.i_lookahead = 0;
    to->rc.b_mb_tree = 0;
}

/* Supplemental information is left out: what x264 writes there names x264 and its options. */
static size_t gather(const x264_nal_t *nals, int count, uint8_t *to, size_t room)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        if (nals[i].i_type == NAL_SEI)
            continue;
        if (size + (size_t)nals[i].i_payload > room)
            return 0;
        memcpy(to + size, nals[i].p_payload, (size_t)nals[i].i_payload);
        size += (size_t)nals[i].i_payload;
    }
    return size;
}

static void describe(const struct x264_coder *self, const struct frame *frame, x264_picture_t *to)
{
    uint8_t *data = (uint8_t *)frame->data;
    int pitch = (int)frame->pitch;
    size_t luma = frame->pitch * (size_t)self->settings.height;
    bool full = self->settings.layout == LAYOUT_444;
    bool planar = self->settings.layout == LAYOUT_YV12;
    self->picture_init(to);
    to->i_type = frame->force_idr ? X264_TYPE_IDR : X264_TYPE_AUTO;
    to->i_pts = (int64_t)frame->timestamp;
    to->img.i_csp = full ? X264_CSP_I444 : planar ? X264_CSP_YV12 : X264_CSP_NV12;
    to->img.i_plane = full || planar ? 3 : 2;
    for (int i = 0; i < to->img.i_plane; i++)
        to->img.i_stride[i] = planar && i ? pitch / 2 : pitch;
    to->img.plane[0] = data;
    to->img.plane[1] = data + luma;
    to->img.plane[2] = data + (planar ? luma + luma / 4 : 2 * luma);
}

static int encode(struct coder *coder, const struct frame *frame, struct picture *out)
{
    struct x264_coder *self = (struct x264_coder *)coder;
    x264_picture_t in, done;
    x264_nal_t *nals;
    int count;
    if (frame)
        describe(self, frame, &in);
    else if (!self->delayed(self->encoder))
        return 0;
    int size = self->encode(self->encoder, &nals, &count, frame ? &in : NULL, &done);
    if (size <= 0)
        return size;
    out->bytes = malloc((size_t)size);
    out->size = gather(nals, count, out->bytes, (size_t)size);
    out->timestamp = (uint64_t)done.i_pts;
    out->kind = done.i_type == X264_TYPE_IDR ? KIND_IDR
                : done.i_type == X264_TYPE_I ? KIND_I
                : done.i_type == X264_TYPE_P ? KIND_P
                                             : KIND_B;
    return 1;
}

static size_t headers(struct coder *coder, uint8_t *to, size_t room)
{
    struct x264_coder *self = (struct x264_coder *)coder;
    x264_nal_t *nals;
    int count;
    if (self->headers(self->encoder, &nals, &count) < 0)
        return 0;
    return gather(nals, count, to, room);
}

static void close_x264(struct coder *coder)
{
    struct x264_coder *self = (struct x264_coder *)coder;
    self->close(self->encoder);
    free(self);
}

struct coder *open_x264(const struct settings *settings)
{
    void *library = dlopen(LIBRARY_NAME(X264_BUILD), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!library) {
        fprintf(stderr, "fake nvenc: %s\n", dlerror());
        return NULL;
    }
    int (*preset)(x264_param_t *, const char *, const char *) =
        dlsym(library, "x264_param_default_preset");
    int (*profile)(x264_param_t *, const char *) = dlsym(library, "x264_param_apply_profile");
    x264_t *(*open)(x264_param_t *) = dlsym(library, OPEN_NAME(X264_BUILD));
    x264_param_t param;
    preset(&param, fake_text("FAKE_NV_EFFORT", "ultrafast"), NULL);
    param.i_log_level = X264_LOG_ERROR;
    set_stream(settings, &param);
    set_structure(settings, &param);
    set_rate(settings, &param);
    if (settings->profile && !settings->lossless)
        profile(&param, settings->profile);
    struct x264_coder *self = calloc(1, sizeof *self);
    self->coder = (struct coder){encode, headers, close_x264};
    self->settings = *settings;
    self->encode = dlsym(library, "x264_encoder_encode");
    self->headers = dlsym(library, "x264_encoder_headers");
    self->delayed = dlsym(library, "x264_encoder_delayed_frames");
    self->close = dlsym(library, "x264_encoder_close");
    self->picture_init = dlsym(library, "x264_picture_init");
    self->encoder = open(&param);
    if (self->encoder)
        return &self->coder;
    free(self);
    return NULL;
}
