/*
 * Stub of libnvidia-encode.so.1: NVENC's sessions, limits and refusals, with libx264 and libx265 in
 * place of the chip, so that what ffmpeg writes through it is a real stream.
 *
 * fake.h lists the variables.
 *
 * ABI: this is compiled with the header of API 11.1 and serves every caller up to 13.1. NVIDIA
 * gives new fields the place of reserved ones, so all fields read or written here have the same
 * offset in each; those that 11.1 does not know yet are read at the documented offset of their
 * header (see `split_encode_mode`). Nothing is written beyond `pictureStruct` of a locked
 * bitstream, where later headers put other fields. Colour tags, quality and structure are checked
 * to arrive from both ffmpeg generations by tests/gpu/test_values.py.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <ffnvcodec/nvEncodeAPI.h>

#include "coder.h"
#include "fake.h"

/* As in cuda.c: the address of a context says which GPU it belongs to. */
#define CONTEXT_BASE 0x1000

/* More outputs than ffmpeg ever has in flight. */
#define MOST_OUTPUTS 256

/* API 12.0 brought it; the header at hand may be older. */
static const GUID AV1_GUID = {
    0x0a352289, 0x0aa7, 0x4759, {0x86, 0x2d, 0x5d, 0x15, 0xcd, 0x16, 0xd2, 0x54}};

struct input {
    NV_ENC_BUFFER_FORMAT format;
    size_t pitch;
    bool borrowed; /* The memory belongs to CUDA. */
    uint8_t *data;
};

struct output {
    struct picture picture;
    bool filled;
};

struct session {
    int gpu;
    unsigned api_major;
    int lock; /* Descriptor of the file that counts this session, or -1. */
    enum codec codec;
    struct settings settings;
    struct coder *coder;
    int submitted; /* Pictures taken in. */
    const char *error; /* What went wrong last. */
    /* Outputs wait here in the order in which they were submitted; pictures fill them in turn. */
    struct output *waiting[MOST_OUTPUTS];
    unsigned first, end;
};

static bool same(const GUID *one, const GUID *other)
{
    return !memcmp(one, other, sizeof *one);
}

/* --- Sessions ------------------------------------------------------------------------------- */

/* Take one of FAKE_NV_SESSIONS locks. A process that dies gives its own back by itself. */
static bool take_session(int *lock)
{
    long limit = fake_number("FAKE_NV_SESSIONS", 0);
    const char *directory = getenv("FAKE_NV_SESSION_DIR");
    *lock = -1;
    if (!limit || !directory)
        return true;
    for (long i = 0; i < limit; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/session-%ld", directory, i);
        int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (file >= 0 && !flock(file, LOCK_EX | LOCK_NB)) {
            *lock = file;
            return true;
        }
        if (file >= 0)
            close(file);
    }
    return false;
}

static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *params, void **encoder)
{
    int gpu = (int)((size_t)params->device - CONTEXT_BASE);
    char number[16];
    snprintf(number, sizeof number, "%d", gpu);
    /* ffmpeg destroys what it was given even when opening failed. */
    *encoder = NULL;
    if (fake_number("FAKE_NV_SIGNAL", 0))
        raise((int)fake_number("FAKE_NV_SIGNAL", 0));
    if (fake_listed(fake_text("FAKE_NV_WITHOUT", ""), number))
        return NV_ENC_ERR_UNSUPPORTED_DEVICE;
    NVENCSTATUS status = (NVENCSTATUS)fake_number("FAKE_NV_OPEN", NV_ENC_SUCCESS);
    int lock = -1;
    if (status == NV_ENC_SUCCESS && !take_session(&lock))
        status = NV_ENC_ERR_OUT_OF_MEMORY;
    if (status != NV_ENC_SUCCESS) {
        fake_dump("nvenc refused gpu=%d status=%d", gpu, status);
        return status;
    }
    struct session *session = calloc(1, sizeof *session);
    session->gpu = gpu;
    session->lock = lock;
    session->api_major = params->apiVersion & 0xff;
    *encoder = session;
    fake_dump("nvenc open gpu=%d api=%u.%u", gpu, session->api_major, params->apiVersion >> 24);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy_session(void *encoder)
{
    struct session *session = encoder;
    if (!session)
        return NV_ENC_SUCCESS;
    fake_dump("nvenc close gpu=%d pictures=%d", session->gpu, session->submitted);
    if (session->coder)
        session->coder->close(session->coder);
    if (session->lock >= 0)
        close(session->lock);
    free(session);
    return NV_ENC_SUCCESS;
}

static const char *last_error(void *encoder)
{
    struct session *session = encoder;
    return fake_text("FAKE_NV_LAST_ERROR", session && session->error ? session->error : "");
}

/* --- What the GPU can do -------------------------------------------------------------------- */

static uint32_t list_codecs(GUID *to, uint32_t room)
{
    const char *codecs = fake_text("FAKE_NV_CODECS", "h264,hevc,av1");
    const struct {
        const char *name;
        GUID guid;
    } known[] = {
        {"h264", NV_ENC_CODEC_H264_GUID}, {"hevc", NV_ENC_CODEC_HEVC_GUID}, {"av1", AV1_GUID}};
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (fake_listed(codecs, known[i].name) && count < room)
            to[count++] = known[i].guid;
    return count;
}

static NVENCSTATUS count_codecs(void *encoder, uint32_t *count)
{
    GUID guids[3];
    *count = list_codecs(guids, 3);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS get_codecs(void *encoder, GUID *guids, uint32_t room, uint32_t *count)
{
    *count = list_codecs(guids, room);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS get_capability(void *encoder, GUID codec, NV_ENC_CAPS_PARAM *param, int *value)
{
    static const struct {
        NV_ENC_CAPS capability;
        const char *variable;
        int otherwise;
    } known[] = {
        {NV_ENC_CAPS_WIDTH_MAX, "FAKE_NV_MAX_WIDTH", 8192},
        {NV_ENC_CAPS_HEIGHT_MAX, "FAKE_NV_MAX_HEIGHT", 8192},
        {NV_ENC_CAPS_WIDTH_MIN, "FAKE_NV_MIN_WIDTH", 145},
        {NV_ENC_CAPS_HEIGHT_MIN, "FAKE_NV_MIN_HEIGHT", 49},
        {NV_ENC_CAPS_NUM_MAX_BFRAMES, "FAKE_NV_BFRAMES", 4},
        {NV_ENC_CAPS_SUPPORT_10BIT_ENCODE, "FAKE_NV_10BIT", 1},
        {NV_ENC_CAPS_SUPPORT_YUV444_ENCODE, "FAKE_NV_444", 1},
        {NV_ENC_CAPS_SUPPORT_LOOKAHEAD, "FAKE_NV_LOOKAHEAD", 1},
        {NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ, "FAKE_NV_TEMPORAL_AQ", 1},
        {NV_ENC_CAPS_SUPPORT_WEIGHTED_PREDICTION, "FAKE_NV_WEIGHTED", 1},
        {NV_ENC_CAPS_SUPPORT_LOSSLESS_ENCODE, "FAKE_NV_LOSSLESS", 1},
        {NV_ENC_CAPS_SUPPORT_BFRAME_REF_MODE, "FAKE_NV_BREF", 3},
    };
    *value = param->capsToQuery != NV_ENC_CAPS_SUPPORT_FIELD_ENCODING;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].capability == param->capsToQuery)
            *value = (int)fake_number(known[i].variable, known[i].otherwise);
    if (param->capsToQuery == NV_ENC_CAPS_SUPPORT_10BIT_ENCODE &&
        same(&codec, &NV_ENC_CODEC_H264_GUID))
        *value = (int)fake_number("FAKE_NV_H264_10BIT", 0);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS get_preset(void *encoder, GUID codec, GUID preset, NV_ENC_TUNING_INFO tuning,
                              NV_ENC_PRESET_CONFIG *config)
{
    long b_frames = fake_number("FAKE_NV_BFRAMES", 4);
    memset(&config->presetCfg, 0, sizeof config->presetCfg);
    config->presetCfg.gopLength = 250;
    config->presetCfg.frameIntervalP = b_frames < 3 ? (int)b_frames + 1 : 4;
    config->presetCfg.rcParams.averageBitRate = 2000000;
    return NV_ENC_SUCCESS;
}

/* --- Initialisation ------------------------------------------------------------------------- */

/* A bit field that API 12.1 put into the word after enablePTD: bits 5 to 8. */
static unsigned split_encode_mode(const struct session *session,
                                  const NV_ENC_INITIALIZE_PARAMS *params)
{
    uint32_t flags;
    memcpy(&flags, (const char *)&params->enablePTD + sizeof params->enablePTD, sizeof flags);
    return session->api_major >= 12 ? flags >> 5 & 0xf : 0;
}

static int common_divisor(int one, int other)
{
    return other ? common_divisor(other, one % other) : one;
}

static const char *profile_name(const GUID *guid)
{
    const struct {
        GUID guid;
        const char *name;
    } known[] = {
        {NV_ENC_H264_PROFILE_BASELINE_GUID, "baseline"},
        {NV_ENC_H264_PROFILE_MAIN_GUID, "main"},
        {NV_ENC_H264_PROFILE_HIGH_GUID, "high"},
        {NV_ENC_H264_PROFILE_HIGH_444_GUID, "high444"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same(&known[i].guid, guid))
            return known[i].name;
    return NULL;
}

static void read_rate(struct settings *to, const NV_ENC_RC_PARAMS *rate)
{
    to->qp_p = (int)rate->constQP.qpInterP;
    to->qp_b = (int)rate->constQP.qpInterB;
    to->qp_i = (int)rate->constQP.qpIntra;
    to->quality = rate->targetQuality + rate->targetQualityLSB / 256.0;
    to->average_bps = rate->averageBitRate;
    to->max_bps = rate->maxBitRate;
    to->buffer_bits = rate->vbvBufferSize;
    to->rate = rate->rateControlMode == NV_ENC_PARAMS_RC_CONSTQP ? RATE_CONSTANT_QP
               : to->quality > 0                                 ? RATE_QUALITY
                                                                 : RATE_BITRATE;
}

static void read_codec(struct session *session, const NV_ENC_CONFIG *config)
{
    struct settings *to = &session->settings;
    const NV_ENC_CONFIG_H264 *h264 = &config->encodeCodecConfig.h264Config;
    const NV_ENC_CONFIG_HEVC *hevc = &config->encodeCodecConfig.hevcConfig;
    bool is_h264 = session->codec == CODEC_H264;
    const NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui =
        is_h264 ? &h264->h264VUIParameters : &hevc->hevcVUIParameters;
    to->headers_in_band = !(is_h264 ? h264->disableSPSPPS : hevc->disableSPSPPS);
    to->colour.described = vui->videoSignalTypePresentFlag;
    to->colour.full_range = (int)vui->videoFullRangeFlag;
    to->colour.primaries = vui->colourDescriptionPresentFlag ? (int)vui->colourPrimaries : 2;
    to->colour.transfer = vui->colourDescriptionPresentFlag ? (int)vui->transferCharacteristics : 2;
    to->colour.matrix = vui->colourDescriptionPresentFlag ? (int)vui->colourMatrix : 2;
}

static void read_settings(struct session *session, const NV_ENC_INITIALIZE_PARAMS *params)
{
    const NV_ENC_CONFIG *config = params->encodeConfig;
    struct settings *to = &session->settings;
    bool main10 = same(&config->profileGUID, &NV_ENC_HEVC_PROFILE_MAIN10_GUID);
    int across = (int)(params->darWidth * params->encodeHeight);
    int down = (int)(params->darHeight * params->encodeWidth);
    int divisor = common_divisor(across, down);
    to->width = (int)params->encodeWidth;
    to->height = (int)params->encodeHeight;
    to->sar_width = divisor ? across / divisor : 1;
    to->sar_height = divisor ? down / divisor : 1;
    to->fps_num = (int)params->frameRateNum;
    to->fps_den = (int)params->frameRateDen;
    to->gop_frames =
        config->gopLength == NVENC_INFINITE_GOPLENGTH ? 0 : (int)config->gopLength;
    to->b_frames = config->frameIntervalP > 1 ? config->frameIntervalP - 1 : 0;
    to->lossless = params->tuningInfo == NV_ENC_TUNING_INFO_LOSSLESS;
    to->layout = main10 ? LAYOUT_P010 : LAYOUT_NV12;
    to->profile = profile_name(&config->profileGUID);
    read_rate(to, &config->rcParams);
    if (session->codec != CODEC_AV1)
        read_codec(session, config);
}

static const char *codec_name(enum codec codec)
{
    return codec == CODEC_H264 ? "h264" : codec == CODEC_HEVC ? "hevc" : "av1";
}

static void report(const struct session *session, const NV_ENC_INITIALIZE_PARAMS *params)
{
    const NV_ENC_CONFIG *config = params->encodeConfig;
    const NV_ENC_RC_PARAMS *rate = &config->rcParams;
    const struct settings *settings = &session->settings;
    int preset = 0;
    const GUID presets[] = {NV_ENC_PRESET_P1_GUID, NV_ENC_PRESET_P2_GUID, NV_ENC_PRESET_P3_GUID,
                            NV_ENC_PRESET_P4_GUID, NV_ENC_PRESET_P5_GUID, NV_ENC_PRESET_P6_GUID,
                            NV_ENC_PRESET_P7_GUID};
    for (int i = 0; i < 7; i++)
        if (same(&presets[i], &params->presetGUID))
            preset = i + 1;
    fake_dump("nvenc init gpu=%d api=%u codec=%s width=%d height=%d sar=%d:%d fps=%d/%d preset=%d "
              "tuning=%d profile=%s gop=%d bframes=%d rc=%d avg=%u max=%u vbv=%u quality=%.3f "
              "qp=%d,%d,%d multipass=%d aq=%d strength=%d temporal_aq=%d lookahead=%d split=%u "
              "in_band=%d range=%d primaries=%d transfer=%d matrix=%d",
              session->gpu, session->api_major, codec_name(session->codec), settings->width,
              settings->height, settings->sar_width, settings->sar_height, settings->fps_num,
              settings->fps_den, preset, params->tuningInfo,
              same(&config->profileGUID, &NV_ENC_HEVC_PROFILE_MAIN10_GUID) ? "main10"
              : settings->profile                                          ? settings->profile
                                                                           : "-",
              (int)config->gopLength, settings->b_frames, rate->rateControlMode,
              rate->averageBitRate, rate->maxBitRate, rate->vbvBufferSize, settings->quality,
              settings->qp_i, settings->qp_p, settings->qp_b, rate->multiPass, rate->enableAQ,
              rate->aqStrength, rate->enableTemporalAQ,
              rate->enableLookahead ? rate->lookaheadDepth : 0, split_encode_mode(session, params),
              settings->headers_in_band, settings->colour.full_range, settings->colour.primaries,
              settings->colour.transfer, settings->colour.matrix);
}

static NVENCSTATUS initialise(void *encoder, NV_ENC_INITIALIZE_PARAMS *params)
{
    struct session *session = encoder;
    session->codec = same(&params->encodeGUID, &NV_ENC_CODEC_H264_GUID)   ? CODEC_H264
                     : same(&params->encodeGUID, &NV_ENC_CODEC_HEVC_GUID) ? CODEC_HEVC
                                                                          : CODEC_AV1;
    read_settings(session, params);
    report(session, params);
    if ((long)params->encodeWidth < fake_number("FAKE_NV_MIN_WIDTH", 145) ||
        (long)params->encodeHeight < fake_number("FAKE_NV_MIN_HEIGHT", 49)) {
        session->error = "Frame Dimension less than the minimum supported value.";
        return NV_ENC_ERR_INVALID_PARAM;
    }
    return (NVENCSTATUS)fake_number("FAKE_NV_INIT", NV_ENC_SUCCESS);
}

/* Open the software encoder as late as possible: buffers tell the layout of pictures. */
static bool have_coder(struct session *session)
{
    if (!session->coder)
        session->coder = session->codec == CODEC_H264   ? open_x264(&session->settings)
                         : session->codec == CODEC_HEVC ? open_x265(&session->settings)
                                                        : open_placeholder();
    return session->coder;
}

static NVENCSTATUS get_headers(void *encoder, NV_ENC_SEQUENCE_PARAM_PAYLOAD *payload)
{
    struct session *session = encoder;
    if (!have_coder(session))
        return NV_ENC_ERR_GENERIC;
    size_t size =
        session->coder->headers(session->coder, payload->spsppsBuffer, payload->inBufferSize);
    *payload->outSPSPPSPayloadSize = (uint32_t)size;
    return size ? NV_ENC_SUCCESS : NV_ENC_ERR_NOT_ENOUGH_BUFFER;
}

/* --- Buffers -------------------------------------------------------------------------------- */

static void note_layout(struct session *session, NV_ENC_BUFFER_FORMAT format)
{
    session->settings.layout = format == NV_ENC_BUFFER_FORMAT_YV12           ? LAYOUT_YV12
                               : format == NV_ENC_BUFFER_FORMAT_YUV420_10BIT ? LAYOUT_P010
                               : format == NV_ENC_BUFFER_FORMAT_YUV444       ? LAYOUT_444
                                                                             : LAYOUT_NV12;
}

static NVENCSTATUS create_input(void *encoder, NV_ENC_CREATE_INPUT_BUFFER *params)
{
    struct input *input = calloc(1, sizeof *input);
    size_t bytes = params->bufferFmt == NV_ENC_BUFFER_FORMAT_YUV420_10BIT ? 2 : 1;
    input->format = params->bufferFmt;
    input->pitch = (params->width * bytes + 63) / 64 * 64;
    input->data = calloc(3 * input->pitch, params->height + 1);
    note_layout(encoder, params->bufferFmt);
    params->inputBuffer = input;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy_input(void *encoder, NV_ENC_INPUT_PTR buffer)
{
    struct input *input = buffer;
    if (!input->borrowed)
        free(input->data);
    free(input);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS lock_input(void *encoder, NV_ENC_LOCK_INPUT_BUFFER *params)
{
    struct input *input = params->inputBuffer;
    params->bufferDataPtr = input->data;
    params->pitch = (uint32_t)input->pitch;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unlock_input(void *encoder, NV_ENC_INPUT_PTR buffer)
{
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS register_resource(void *encoder, NV_ENC_REGISTER_RESOURCE *params)
{
    struct input *input = calloc(1, sizeof *input);
    input->format = params->bufferFormat;
    input->pitch = params->pitch;
    input->borrowed = true;
    input->data = params->resourceToRegister;
    note_layout(encoder, params->bufferFormat);
    params->registeredResource = input;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS map_resource(void *encoder, NV_ENC_MAP_INPUT_RESOURCE *params)
{
    struct input *input = params->registeredResource;
    params->mappedResource = input;
    params->mappedBufferFmt = input->format;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unmap_resource(void *encoder, NV_ENC_INPUT_PTR buffer)
{
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unregister_resource(void *encoder, NV_ENC_REGISTERED_PTR resource)
{
    return destroy_input(encoder, resource);
}

static NVENCSTATUS create_output(void *encoder, NV_ENC_CREATE_BITSTREAM_BUFFER *params)
{
    params->bitstreamBuffer = calloc(1, sizeof(struct output));
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy_output(void *encoder, NV_ENC_OUTPUT_PTR buffer)
{
    struct output *output = buffer;
    free(output->picture.bytes);
    free(output);
    return NV_ENC_SUCCESS;
}

/* --- Encoding ------------------------------------------------------------------------------- */

/* Hand a frame, or NULL, to the coder, and what it gives to the outputs that wait, in turn. */
static int work(struct session *session, const struct frame *frame)
{
    int filled = 0;
    for (;;) {
        struct picture picture;
        int got = session->coder->encode(session->coder, frame, &picture);
        if (got < 0)
            return got;
        if (got && session->first != session->end) {
            struct output *output = session->waiting[session->first++ % MOST_OUTPUTS];
            output->picture = picture;
            output->filled = true;
            filled++;
        }
        if (frame || !got)
            return filled;
    }
}

static void take_time(void)
{
    long ms = fake_number("FAKE_NV_FRAME_MS", 0);
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    if (ms)
        nanosleep(&pause, NULL);
}

/*
 * As the driver does: success when this call gave a picture, NEED_MORE_INPUT while all are still
 * needed for reordering. ffmpeg then takes outputs in the order in which it submitted them.
 */
static NVENCSTATUS encode_picture(void *encoder, NV_ENC_PIC_PARAMS *params)
{
    struct session *session = encoder;
    if (!have_coder(session))
        return NV_ENC_ERR_GENERIC;
    if (params->encodePicFlags & NV_ENC_PIC_FLAG_EOS)
        return work(session, NULL) < 0 ? NV_ENC_ERR_GENERIC : NV_ENC_SUCCESS;
    if (session->submitted == fake_number("FAKE_NV_PICTURE", -1))
        return NV_ENC_ERR_GENERIC;
    const struct input *input = params->inputBuffer;
    bool forced = params->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR;
    fake_dump("nvenc picture number=%d idr=%d timestamp=%llu format=%#x", session->submitted,
              forced, (unsigned long long)params->inputTimeStamp, (unsigned)input->format);
    take_time();
    struct output *output = params->outputBitstream;
    output->filled = false;
    session->waiting[session->end++ % MOST_OUTPUTS] = output;
    session->submitted++;
    struct frame frame = {input->data, input->pitch, forced, params->inputTimeStamp};
    int filled = work(session, &frame);
    return filled < 0 ? NV_ENC_ERR_GENERIC : filled ? NV_ENC_SUCCESS : NV_ENC_ERR_NEED_MORE_INPUT;
}

static NVENCSTATUS lock_output(void *encoder, NV_ENC_LOCK_BITSTREAM *params)
{
    struct output *output = params->outputBitstream;
    static const NV_ENC_PIC_TYPE types[] = {NV_ENC_PIC_TYPE_IDR, NV_ENC_PIC_TYPE_I,
                                            NV_ENC_PIC_TYPE_P, NV_ENC_PIC_TYPE_B};
    if (!output->filled)
        return NV_ENC_ERR_LOCK_BUSY;
    params->bitstreamBufferPtr = output->picture.bytes;
    params->bitstreamSizeInBytes = (uint32_t)output->picture.size;
    params->outputTimeStamp = output->picture.timestamp;
    params->pictureType = types[output->picture.kind];
    params->pictureStruct = NV_ENC_PIC_STRUCT_FRAME;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unlock_output(void *encoder, NV_ENC_OUTPUT_PTR buffer)
{
    struct output *output = buffer;
    free(output->picture.bytes);
    output->picture.bytes = NULL;
    output->filled = false;
    return NV_ENC_SUCCESS;
}

/* --- Entry points --------------------------------------------------------------------------- */

static NVENCSTATUS succeed(void)
{
    return NV_ENC_SUCCESS;
}

__attribute__((visibility("default"))) NVENCSTATUS
NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
    unsigned major = 13, minor = 15;
    sscanf(fake_text("FAKE_NV_API", ""), "%u.%u", &major, &minor);
    *version = major << 4 | minor;
    return NV_ENC_SUCCESS;
}

__attribute__((visibility("default"))) NVENCSTATUS
NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list)
{
    /* Whatever is not done below succeeds: the list is pointers from the first to the last. */
    void **pointers = (void **)&list->nvEncOpenEncodeSession;
    void **last = (void **)&list->nvEncGetSequenceParamEx;
    for (void **at = pointers; at <= last; at++)
        *at = (void *)succeed;
    list->nvEncOpenEncodeSessionEx = open_session;
    list->nvEncDestroyEncoder = destroy_session;
    list->nvEncGetLastErrorString = last_error;
    list->nvEncGetEncodeGUIDCount = count_codecs;
    list->nvEncGetEncodeGUIDs = get_codecs;
    list->nvEncGetEncodeCaps = get_capability;
    list->nvEncGetEncodePresetConfigEx = get_preset;
    list->nvEncInitializeEncoder = initialise;
    list->nvEncGetSequenceParams = get_headers;
    list->nvEncCreateInputBuffer = create_input;
    list->nvEncDestroyInputBuffer = destroy_input;
    list->nvEncLockInputBuffer = lock_input;
    list->nvEncUnlockInputBuffer = unlock_input;
    list->nvEncRegisterResource = register_resource;
    list->nvEncUnregisterResource = unregister_resource;
    list->nvEncMapInputResource = map_resource;
    list->nvEncUnmapInputResource = unmap_resource;
    list->nvEncCreateBitstreamBuffer = create_output;
    list->nvEncDestroyBitstreamBuffer = destroy_output;
    list->nvEncEncodePicture = encode_picture;
    list->nvEncLockBitstream = lock_output;
    list->nvEncUnlockBitstream = unlock_output;
    return NV_ENC_SUCCESS;
}
