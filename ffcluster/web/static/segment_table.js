/** All segments of a job in a windowed table. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, duration } from "./format.js";
import { Windowed } from "./windowed.js";
import { SEGMENT_WORDS } from "./words.js";

/** @param {string} jobId @param {(firstFrame: number) => void} open */
export function segmentTable(jobId, open) {
  return new Windowed({
    label: "Segments",
    name: "segments",
    rowHeight: 40,
    key: (segment) => segment.first_frame,
    page: (cursor) => get(`/jobs/${encodeURIComponent(jobId)}/segments`, { limit: 200, cursor }),
    columns: [
      {
        name: "Frames",
        cell: (segment) =>
          h(
            "button",
            { type: "button", class: "link", onclick: () => open(segment.first_frame) },
            `${segment.first_frame} – ${segment.first_frame + segment.frame_count - 1}`,
          ),
      },
      { name: "State", cell: (segment) => SEGMENT_WORDS[segment.state] ?? segment.state },
      { name: "Worker", cell: (segment) => segment.worker || "–" },
      { name: "Encoder", wide: true, cell: (segment) => segment.encoder || "–" },
      {
        name: "Attempts",
        wide: true,
        cell: (segment) =>
          count(Array.isArray(segment.attempts) ? segment.attempts.length : segment.attempts),
      },
      { name: "Time", wide: true, cell: (segment) => duration(segment.encode_s) },
      { name: "Size", cell: (segment) => bytes(segment.size_bytes) },
      {
        name: "Likeness",
        wide: true,
        cell: (segment) =>
          segment.border_psnr_db === null || segment.border_psnr_db === undefined
            ? "–"
            : h(
                "span",
                { title: "How alike the pictures at its ends are to the source's (PSNR)" },
                `${segment.border_psnr_db.toFixed(1)} dB`,
              ),
      },
    ],
  });
}
