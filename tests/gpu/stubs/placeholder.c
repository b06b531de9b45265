/* Stands in where no software encoder does: as many pictures as frames, of no use to a decoder. */
#include <stdlib.h>
#include <string.h>

#include "coder.h"

/* An AV1 temporal delimiter, so that what reads packets finds a unit of the right shape. */
static const uint8_t UNIT[] = {0x12, 0x00};

static int encode(struct coder *coder, const struct frame *frame, struct picture *out)
{
    if (!frame)
        return 0;
    out->bytes = malloc(sizeof UNIT);
    out->size = sizeof UNIT;
    memcpy(out->bytes, UNIT, sizeof UNIT);
    out->timestamp = frame->timestamp;
    out->kind = frame->force_idr ? KIND_IDR : KIND_P;
    return 1;
}

static size_t headers(struct coder *coder, uint8_t *to, size_t room)
{
    if (room < sizeof UNIT)
        return 0;
    memcpy(to, UNIT, sizeof UNIT);
    return sizeof UNIT;
}

static void close_placeholder(struct coder *coder)
{
    free(coder);
}

struct coder *open_placeholder(void)
{
    struct coder *coder = malloc(sizeof *coder);
    *coder = (struct coder){encode, headers, close_placeholder};
    return coder;
}
