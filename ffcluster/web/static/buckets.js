/** Buckets of a film: a segment each where they fit, else several together. */

import { bytes, count, plural, timecode } from "./format.js";
import { SEGMENT_STATES, SEGMENT_WORDS } from "./words.js";

/**
 * @typedef {{first_frame: number, frame_count: number, segments: number, states: Record<string, number>,
 *   worker: string | null, encoder: string | null, size_bytes: number | null, retries: number,
 *   speculative: boolean}} Bucket `states` counts frames; without segments it is not cut yet
 */

/** Bytes for each frame. @param {Bucket} bucket */
export const density = (bucket) => (bucket.size_bytes ? bucket.size_bytes / bucket.frame_count : 0);

/** @param {Bucket} bucket @param {number} fps */
export function sentence(bucket, fps) {
  const states = SEGMENT_STATES.filter((state) => bucket.states[state]).map((state) =>
    bucket.segments > 1
      ? `${count(bucket.states[state])} frames ${SEGMENT_WORDS[state]}`
      : SEGMENT_WORDS[state],
  );
  const parts = [
    `At ${timecode(bucket.first_frame / fps)}, frames ${bucket.first_frame} to ${bucket.first_frame + bucket.frame_count - 1}`,
    bucket.segments > 1 ? plural(bucket.segments, "segment") : "",
    bucket.segments ? states.join(", ") : "not cut yet",
    bucket.worker ? `by ${bucket.worker}` : "",
    bucket.size_bytes ? bytes(bucket.size_bytes) : "",
    bucket.retries ? `tried again ${plural(bucket.retries, "time")}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}
