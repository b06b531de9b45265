/*
 * Stub of a VA driver: it takes ffmpeg's configurations and pictures, says what it was asked for,
 * and gives a few bytes per picture that no decoder understands.
 *
 * ffmpeg calls from several threads, so what is shared is locked. fake.h lists the variables.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include <va/va.h>
#include <va/va_backend.h>
#include <va/va_drmcommon.h>
#include <va/va_enc_av1.h>
#include <va/va_enc_h264.h>
#include <va/va_enc_hevc.h>
#include <va/va_enc_vp9.h>

#include "fake.h"

#define EVERY_RATE_MODE (VA_RC_CQP | VA_RC_CBR | VA_RC_VBR | VA_RC_ICQ | VA_RC_QVBR)

/* One unit type of AUD and slice each: enough for what only counts packets. */
static uint8_t PAYLOAD[] = {0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x65, 0x88};

enum sort { SORT_CONFIG, SORT_CONTEXT, SORT_SURFACE, SORT_BUFFER };

/* Everything with an id: the fields that its sort does not have stay zero. */
struct object {
    enum sort sort;
    VAProfile profile;
    VAEntrypoint entrypoint;
    unsigned width, height;
    uint32_t fourcc;
    VABufferType type;
    unsigned size;
    void *data;
    VACodedBufferSegment segment;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object **objects;
static VAGenericID last_id;

/* --- Objects -------------------------------------------------------------------------------- */

static struct object *add(enum sort sort, VAGenericID *id)
{
    struct object *object = calloc(1, sizeof *object);
    object->sort = sort;
    pthread_mutex_lock(&lock);
    objects = realloc(objects, (last_id + 2) * sizeof *objects);
    objects[++last_id] = object;
    *id = last_id;
    pthread_mutex_unlock(&lock);
    return object;
}

static struct object *get(VAGenericID id, enum sort sort)
{
    pthread_mutex_lock(&lock);
    struct object *object = id && id <= last_id ? objects[id] : NULL;
    pthread_mutex_unlock(&lock);
    return object && object->sort == sort ? object : NULL;
}

static VAStatus drop(VADriverContextP driver, VAGenericID id)
{
    pthread_mutex_lock(&lock);
    struct object *object = id && id <= last_id ? objects[id] : NULL;
    if (object)
        objects[id] = NULL;
    pthread_mutex_unlock(&lock);
    if (object)
        free(object->data);
    free(object);
    return VA_STATUS_SUCCESS;
}

/* --- What the device can do ----------------------------------------------------------------- */

static bool is_10bit(VAProfile profile)
{
    return profile == VAProfileHEVCMain10 || profile == VAProfileAV1Profile0 ||
           profile == VAProfileVP9Profile2;
}

static VAStatus query_profiles(VADriverContextP driver, VAProfile *list, int *count)
{
    int n = 0;
    bool ten_bit = fake_number("FAKE_VA_10BIT", 1), hevc = fake_number("FAKE_VA_HEVC", 1);
    bool vp9 = fake_number("FAKE_VA_VP9", 1);
    list[n++] = VAProfileH264ConstrainedBaseline;
    list[n++] = VAProfileH264Main;
    list[n++] = VAProfileH264High;
    if (hevc)
        list[n++] = VAProfileHEVCMain;
    if (hevc && ten_bit)
        list[n++] = VAProfileHEVCMain10;
    if (vp9)
        list[n++] = VAProfileVP9Profile0;
    if (vp9 && ten_bit)
        list[n++] = VAProfileVP9Profile2;
    if (fake_number("FAKE_VA_AV1", 1))
        list[n++] = VAProfileAV1Profile0;
    list[n++] = VAProfileNone;
    *count = n;
    return VA_STATUS_SUCCESS;
}

static VAStatus query_entrypoints(VADriverContextP driver, VAProfile profile, VAEntrypoint *list,
                                  int *count)
{
    long encoders = fake_number("FAKE_VA_ENTRYPOINTS", 1);
    int n = 0;
    if (profile == VAProfileNone) {
        list[n++] = VAEntrypointVideoProc;
    } else {
        list[n++] = VAEntrypointVLD;
        if (encoders & 1)
            list[n++] = VAEntrypointEncSlice;
        if (encoders & 2)
            list[n++] = VAEntrypointEncSliceLP;
    }
    *count = n;
    return VA_STATUS_SUCCESS;
}

static uint32_t av1_extension(void)
{
    VAConfigAttribValEncAV1Ext2 value = {0};
    value.bits.tile_size_bytes_minus1 = 3;
    value.bits.obu_size_bytes_minus1 = 3;
    value.bits.tx_mode_support = 4;
    return value.value;
}

static uint32_t attribute_value(VAProfile profile, VAConfigAttribType type)
{
    switch ((int)type) {
    case VAConfigAttribRTFormat:
        return VA_RT_FORMAT_YUV420 | (is_10bit(profile) ? VA_RT_FORMAT_YUV420_10 : 0);
    case VAConfigAttribRateControl:
        return (uint32_t)fake_number("FAKE_VA_RC", EVERY_RATE_MODE);
    case VAConfigAttribEncMaxRefFrames:
        return (uint32_t)fake_number("FAKE_VA_REFERENCES", 1 | 1 << 16);
    case VAConfigAttribEncPackedHeaders:
        return (uint32_t)fake_number("FAKE_VA_HEADERS", 0x1f);
    case VAConfigAttribEncQualityRange:
        return (uint32_t)fake_number("FAKE_VA_QUALITY", 7);
    case VAConfigAttribEncMaxSlices:
        return 32;
    case VAConfigAttribEncSliceStructure:
        return VA_ENC_SLICE_STRUCTURE_ARBITRARY_ROWS;
    case VAConfigAttribEncMacroblockInfo:
    case VAConfigAttribEncAV1:
    case VAConfigAttribEncAV1Ext1:
        return 0;
    case VAConfigAttribEncAV1Ext2:
        return av1_extension();
    default:
        return VA_ATTRIB_NOT_SUPPORTED;
    }
}

static VAStatus get_attributes(VADriverContextP driver, VAProfile profile, VAEntrypoint entrypoint,
                               VAConfigAttrib *list, int count)
{
    for (int i = 0; i < count; i++)
        list[i].value = attribute_value(profile, list[i].type);
    return VA_STATUS_SUCCESS;
}

static VAStatus create_config(VADriverContextP driver, VAProfile profile, VAEntrypoint entrypoint,
                              VAConfigAttrib *list, int count, VAConfigID *id)
{
    VAStatus status = (VAStatus)fake_number("FAKE_VA_CONFIG", VA_STATUS_SUCCESS);
    if (status != VA_STATUS_SUCCESS)
        return status;
    struct object *config = add(SORT_CONFIG, id);
    config->profile = profile;
    config->entrypoint = entrypoint;
    return VA_STATUS_SUCCESS;
}

static void put(VASurfaceAttrib *to, VASurfaceAttribType type, long value, uint32_t flags)
{
    memset(to, 0, sizeof *to);
    to->type = type;
    to->flags = flags;
    to->value.type = VAGenericValueTypeInteger;
    to->value.value.i = (int)value;
}

static VAStatus query_surface_attributes(VADriverContextP driver, VAConfigID id,
                                         VASurfaceAttrib *list, unsigned *count)
{
    const uint32_t get_only = VA_SURFACE_ATTRIB_GETTABLE;
    const uint32_t both = VA_SURFACE_ATTRIB_GETTABLE | VA_SURFACE_ATTRIB_SETTABLE;
    struct object *config = get(id, SORT_CONFIG);
    VASurfaceAttrib found[7];
    unsigned n = 0;
    if (!config)
        return VA_STATUS_ERROR_INVALID_CONFIG;
    put(&found[n++], VASurfaceAttribPixelFormat, VA_FOURCC_NV12, both);
    if (is_10bit(config->profile) || config->profile == VAProfileNone)
        put(&found[n++], VASurfaceAttribPixelFormat, VA_FOURCC_P010, both);
    put(&found[n++], VASurfaceAttribMinWidth, fake_number("FAKE_VA_MIN_WIDTH", 128), get_only);
    put(&found[n++], VASurfaceAttribMinHeight, fake_number("FAKE_VA_MIN_HEIGHT", 128), get_only);
    put(&found[n++], VASurfaceAttribMaxWidth, fake_number("FAKE_VA_MAX_WIDTH", 4096), get_only);
    put(&found[n++], VASurfaceAttribMaxHeight, fake_number("FAKE_VA_MAX_HEIGHT", 4096), get_only);
    put(&found[n++], VASurfaceAttribMemoryType, VA_SURFACE_ATTRIB_MEM_TYPE_VA, both);
    bool fits = !list || *count >= n;
    if (list && fits)
        memcpy(list, found, n * sizeof *list);
    *count = n;
    return fits ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_MAX_NUM_EXCEEDED;
}

/* --- Surfaces and images -------------------------------------------------------------------- */

static VAStatus create_surfaces_2(VADriverContextP driver, unsigned format, unsigned width,
                                  unsigned height, VASurfaceID *ids, unsigned count,
                                  VASurfaceAttrib *attributes, unsigned attribute_count)
{
    for (unsigned i = 0; i < count; i++) {
        struct object *surface = add(SORT_SURFACE, &ids[i]);
        surface->width = width;
        surface->height = height;
        surface->fourcc = format == VA_RT_FORMAT_YUV420_10 ? VA_FOURCC_P010 : VA_FOURCC_NV12;
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus create_surfaces(VADriverContextP driver, int width, int height, int format,
                                int count, VASurfaceID *ids)
{
    return create_surfaces_2(driver, (unsigned)format, (unsigned)width, (unsigned)height, ids,
                             (unsigned)count, NULL, 0);
}

static VAStatus destroy_surfaces(VADriverContextP driver, VASurfaceID *ids, int count)
{
    for (int i = 0; i < count; i++)
        drop(driver, ids[i]);
    return VA_STATUS_SUCCESS;
}

static VAStatus create_buffer(VADriverContextP driver, VAContextID context, VABufferType type,
                              unsigned size, unsigned count, void *data, VABufferID *id)
{
    struct object *buffer = add(SORT_BUFFER, id);
    buffer->type = type;
    buffer->size = size * count;
    buffer->data = calloc(1, buffer->size + 1);
    if (data)
        memcpy(buffer->data, data, buffer->size);
    return VA_STATUS_SUCCESS;
}

static VAStatus query_image_formats(VADriverContextP driver, VAImageFormat *list, int *count)
{
    const VAImageFormat known[] = {
        {.fourcc = VA_FOURCC_NV12, .byte_order = VA_LSB_FIRST, .bits_per_pixel = 12},
        {.fourcc = VA_FOURCC_P010, .byte_order = VA_LSB_FIRST, .bits_per_pixel = 24},
    };
    memcpy(list, known, sizeof known);
    *count = 2;
    return VA_STATUS_SUCCESS;
}

static VAStatus make_image(uint32_t fourcc, unsigned width, unsigned height, VAImage *image)
{
    unsigned pitch = width * (fourcc == VA_FOURCC_P010 ? 2 : 1);
    memset(image, 0, sizeof *image);
    image->format.fourcc = fourcc;
    image->format.byte_order = VA_LSB_FIRST;
    image->format.bits_per_pixel = fourcc == VA_FOURCC_P010 ? 24 : 12;
    image->width = (uint16_t)width;
    image->height = (uint16_t)height;
    image->num_planes = 2;
    image->pitches[0] = image->pitches[1] = pitch;
    image->offsets[1] = pitch * height;
    image->data_size = pitch * (height + (height + 1) / 2);
    create_buffer(NULL, 0, VAImageBufferType, image->data_size, 1, NULL, &image->buf);
    image->image_id = image->buf;
    return VA_STATUS_SUCCESS;
}

static VAStatus create_image(VADriverContextP driver, VAImageFormat *format, int width, int height,
                             VAImage *image)
{
    return make_image(format->fourcc, (unsigned)width, (unsigned)height, image);
}

static VAStatus derive_image(VADriverContextP driver, VASurfaceID id, VAImage *image)
{
    struct object *surface = get(id, SORT_SURFACE);
    if (!surface)
        return VA_STATUS_ERROR_INVALID_SURFACE;
    return make_image(surface->fourcc, surface->width, surface->height, image);
}

/* --- Encoding ------------------------------------------------------------------------------- */

static VAStatus create_context(VADriverContextP driver, VAConfigID config_id, int width, int height,
                               int flags, VASurfaceID *surfaces, int count, VAContextID *id)
{
    struct object *config = get(config_id, SORT_CONFIG);
    VAStatus status = (VAStatus)fake_number("FAKE_VA_CONTEXT", VA_STATUS_SUCCESS);
    if (status != VA_STATUS_SUCCESS || !config)
        return status ? status : VA_STATUS_ERROR_INVALID_CONFIG;
    struct object *context = add(SORT_CONTEXT, id);
    context->profile = config->profile;
    context->entrypoint = config->entrypoint;
    bool low_power = config->entrypoint == VAEntrypointEncSliceLP;
    if (low_power || config->entrypoint == VAEntrypointEncSlice)
        fake_dump("va encode profile=%d low_power=%d width=%d height=%d", config->profile,
                  low_power, width, height);
    return VA_STATUS_SUCCESS;
}

static VAStatus map_buffer(VADriverContextP driver, VABufferID id, void **data)
{
    struct object *buffer = get(id, SORT_BUFFER);
    if (!buffer)
        return VA_STATUS_ERROR_INVALID_BUFFER;
    if (buffer->type == VAEncCodedBufferType) {
        buffer->segment = (VACodedBufferSegment){.size = sizeof PAYLOAD, .buf = PAYLOAD};
        *data = &buffer->segment;
    } else {
        *data = buffer->data;
    }
    return VA_STATUS_SUCCESS;
}

static void report_miscellany(const VAEncMiscParameterBuffer *buffer)
{
    const void *data = buffer->data;
    const VAEncMiscParameterRateControl *rate = data;
    const VAEncMiscParameterHRD *hrd = data;
    const VAEncMiscParameterBufferQualityLevel *level = data;
    const VAEncMiscParameterFrameRate *frame_rate = data;
    switch ((int)buffer->type) {
    case VAEncMiscParameterTypeRateControl:
        fake_dump("va rate bps=%u percent=%u icq=%u quality=%u min_qp=%u max_qp=%u",
                  rate->bits_per_second, rate->target_percentage, rate->ICQ_quality_factor,
                  rate->quality_factor, rate->min_qp, rate->max_qp);
        break;
    case VAEncMiscParameterTypeHRD:
        fake_dump("va buffer bits=%u full=%u", hrd->buffer_size, hrd->initial_buffer_fullness);
        break;
    case VAEncMiscParameterTypeQualityLevel:
        fake_dump("va level quality=%u", level->quality_level);
        break;
    case VAEncMiscParameterTypeFrameRate:
        fake_dump("va fps num=%u den=%u", frame_rate->framerate & 0xffff,
                  frame_rate->framerate >> 16);
        break;
    }
}

static void report_sequence(VAProfile profile, const void *data)
{
    const VAEncSequenceParameterBufferH264 *h264 = data;
    const VAEncSequenceParameterBufferHEVC *hevc = data;
    const VAEncSequenceParameterBufferAV1 *av1 = data;
    const VAEncSequenceParameterBufferVP9 *vp9 = data;
    switch ((int)profile) {
    case VAProfileH264ConstrainedBaseline:
    case VAProfileH264Main:
    case VAProfileH264High:
        fake_dump("va sequence codec=h264 gop=%u idr=%u distance=%u bps=%u", h264->intra_period,
                  h264->intra_idr_period, h264->ip_period, h264->bits_per_second);
        break;
    case VAProfileHEVCMain:
    case VAProfileHEVCMain10:
        fake_dump("va sequence codec=hevc gop=%u idr=%u distance=%u bps=%u depth=%u",
                  hevc->intra_period, hevc->intra_idr_period, hevc->ip_period,
                  hevc->bits_per_second, 8 + hevc->seq_fields.bits.bit_depth_luma_minus8);
        break;
    case VAProfileAV1Profile0:
        fake_dump("va sequence codec=av1 gop=%u distance=%u bps=%u", av1->intra_period,
                  av1->ip_period, av1->bits_per_second);
        break;
    default:
        fake_dump("va sequence codec=vp9 gop=%u bps=%u", vp9->intra_period, vp9->bits_per_second);
    }
}

static void report_picture(VAProfile profile, const void *data)
{
    const VAEncPictureParameterBufferH264 *h264 = data;
    const VAEncPictureParameterBufferHEVC *hevc = data;
    const VAEncPictureParameterBufferAV1 *av1 = data;
    const VAEncPictureParameterBufferVP9 *vp9 = data;
    switch ((int)profile) {
    case VAProfileH264ConstrainedBaseline:
    case VAProfileH264Main:
    case VAProfileH264High:
        fake_dump("va picture codec=h264 qp=%u idr=%u", h264->pic_init_qp,
                  h264->pic_fields.bits.idr_pic_flag);
        break;
    case VAProfileHEVCMain:
    case VAProfileHEVCMain10:
        fake_dump("va picture codec=hevc qp=%u idr=%u", hevc->pic_init_qp,
                  hevc->pic_fields.bits.idr_pic_flag);
        break;
    case VAProfileAV1Profile0:
        fake_dump("va picture codec=av1 qp=%u idr=%u", av1->base_qindex,
                  av1->picture_flags.bits.frame_type == 0);
        break;
    default:
        fake_dump("va picture codec=vp9 qp=%u idr=%u", vp9->luma_ac_qindex,
                  !vp9->pic_flags.bits.frame_type);
    }
}

static VAStatus render_picture(VADriverContextP driver, VAContextID id, VABufferID *ids, int count)
{
    struct object *context = get(id, SORT_CONTEXT);
    for (int i = 0; context && i < count; i++) {
        struct object *buffer = get(ids[i], SORT_BUFFER);
        if (!buffer)
            return VA_STATUS_ERROR_INVALID_BUFFER;
        if (buffer->type == VAEncMiscParameterBufferType)
            report_miscellany(buffer->data);
        else if (buffer->type == VAEncSequenceParameterBufferType)
            report_sequence(context->profile, buffer->data);
        else if (buffer->type == VAEncPictureParameterBufferType)
            report_picture(context->profile, buffer->data);
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus end_picture(VADriverContextP driver, VAContextID id)
{
    return (VAStatus)fake_number("FAKE_VA_END", VA_STATUS_SUCCESS);
}

/* --- Entry point ---------------------------------------------------------------------------- */

static VAStatus succeed(void)
{
    return VA_STATUS_SUCCESS;
}

static VAStatus unimplemented(void)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

/* libva refuses a driver that lacks any of these. */
static void fill_rest(struct VADriverVTable *table)
{
    void **const succeeding[] = {
        (void **)&table->vaTerminate,       (void **)&table->vaBufferSetNumElements,
        (void **)&table->vaUnmapBuffer,     (void **)&table->vaBeginPicture,
        (void **)&table->vaSyncSurface,     (void **)&table->vaQuerySurfaceStatus,
        (void **)&table->vaGetImage,        (void **)&table->vaPutImage,
    };
    void **const missing[] = {
        (void **)&table->vaQueryConfigAttributes,
        (void **)&table->vaQuerySubpictureFormats,
        (void **)&table->vaQueryDisplayAttributes,
        (void **)&table->vaSetImagePalette,
        (void **)&table->vaCreateSubpicture,
        (void **)&table->vaDestroySubpicture,
        (void **)&table->vaSetSubpictureImage,
        (void **)&table->vaSetSubpictureChromakey,
        (void **)&table->vaSetSubpictureGlobalAlpha,
        (void **)&table->vaAssociateSubpicture,
        (void **)&table->vaDeassociateSubpicture,
        (void **)&table->vaGetDisplayAttributes,
        (void **)&table->vaSetDisplayAttributes,
        (void **)&table->vaQuerySurfaceError,
        (void **)&table->vaPutSurface,
        (void **)&table->vaBufferInfo,
        (void **)&table->vaLockSurface,
        (void **)&table->vaUnlockSurface,
    };
    for (size_t i = 0; i < sizeof succeeding / sizeof *succeeding; i++)
        *succeeding[i] = (void *)succeed;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        *missing[i] = (void *)unimplemented;
}

static void fill(struct VADriverVTable *table)
{
    fill_rest(table);
    table->vaQueryConfigProfiles = query_profiles;
    table->vaQueryConfigEntrypoints = query_entrypoints;
    table->vaGetConfigAttributes = get_attributes;
    table->vaCreateConfig = create_config;
    table->vaDestroyConfig = drop;
    table->vaQuerySurfaceAttributes = query_surface_attributes;
    table->vaCreateSurfaces = create_surfaces;
    table->vaCreateSurfaces2 = create_surfaces_2;
    table->vaDestroySurfaces = destroy_surfaces;
    table->vaCreateContext = create_context;
    table->vaDestroyContext = drop;
    table->vaCreateBuffer = create_buffer;
    table->vaDestroyBuffer = drop;
    table->vaMapBuffer = map_buffer;
    table->vaQueryImageFormats = query_image_formats;
    table->vaCreateImage = create_image;
    table->vaDeriveImage = derive_image;
    table->vaDestroyImage = drop;
    table->vaRenderPicture = render_picture;
    table->vaEndPicture = end_picture;
}

static bool is_broken(const struct drm_state *drm)
{
    const char *broken = fake_node(fake_text("FAKE_VA_BROKEN", "-"));
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", drm ? drm->fd : -1);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return broken && length == (ssize_t)strlen(broken) && !strncmp(path, broken, (size_t)length);
}

/* libva looks for the name of its own version, then of each older one. */
#define NAME_OF(major, minor) __vaDriverInit_##major##_##minor
#define INIT_NAME(major, minor) NAME_OF(major, minor)
#define INIT INIT_NAME(VA_MAJOR_VERSION, VA_MINOR_VERSION)

__attribute__((visibility("default"))) VAStatus INIT(VADriverContextP driver)
{
    VAStatus status = (VAStatus)fake_number("FAKE_VA_INIT", VA_STATUS_SUCCESS);
    if (status == VA_STATUS_SUCCESS && is_broken(driver->drm_state))
        status = VA_STATUS_ERROR_OPERATION_FAILED;
    if (status != VA_STATUS_SUCCESS)
        return status;
    driver->version_major = VA_MAJOR_VERSION;
    driver->version_minor = VA_MINOR_VERSION;
    driver->max_profiles = 20;
    driver->max_entrypoints = 5;
    driver->max_attributes = 64;
    driver->max_image_formats = 4;
    driver->max_subpic_formats = 1;
    driver->max_display_attributes = 1;
    driver->str_vendor = fake_text("FAKE_VA_VENDOR", "Fake VA driver");
    fill(driver->vtable);
    return VA_STATUS_SUCCESS;
}
